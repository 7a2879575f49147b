"""Who is there to take part in a step, where workers may come and go."""

from collections.abc import Mapping, Sequence, Set
from types import MappingProxyType
from typing import Protocol

from detox.ps.events import Event


class Attendance(Protocol):
    """Who is there, as the server asks before each step.

    Attributes:
        least: workers without which no step is made.
        patience: seconds to wait for them, until the training ends.
    """

    least: int
    patience: float

    @property
    def missing(self) -> Set[int]:
        """Workers that have never taken part: no file is drawn for them."""

    @property
    def away(self) -> Mapping[int, str]:
        """Workers that have taken part, and are away for too long to wait for them, with what to say of it; the longest
        away first."""

    def news(self, step: int) -> Sequence[Event]:
        """Who has come, or was left out, since this was asked last; as events of this step."""


class Everyone:
    """All workers are there from the start on, and whoever is lost does not come back: over MPI."""

    least = 1
    patience = 0.0
    missing: Set[int] = frozenset()
    away: Mapping[int, str] = MappingProxyType({})

    def news(self, step: int) -> Sequence[Event]:
        """Nothing."""
        return ()
