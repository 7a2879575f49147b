"""A rank that has come by itself, and how far it is."""

from dataclasses import dataclass, field
from enum import Enum


class Stage(Enum):
    """How far a rank is."""

    LOADS = "loads data and model"
    COMPUTES = "computes the self-test"
    PASSED = "has passed"
    REFUSED = "is refused"


@dataclass
class Guest:
    """A rank that has come, in one life of its process."""

    life: bytes
    stage: Stage = Stage.LOADS
    refused: str = ""  # why; of what it says itself nothing else follows
    facts: dict[str, str] = field(default_factory=dict)
    digests: dict[int, bytes] = field(default_factory=dict)

    @property
    def in_words(self) -> str:
        """How far it is."""
        return self.refused or self.stage.value
