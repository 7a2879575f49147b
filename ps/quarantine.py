"""Quarantine: workers that offend too often, or that must have lied, are left out of the groups."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from detox.assignment import Edge
from detox.ps.events import Event


class Quarantine(ABC):
    """Who is to be left out, and whose work the PS should check first.

    Args:
        lag: steps from a step until its events count, when those that come late are in.
        minimum: workers that are left in any case; the server sees to it.
        fail_closed: whether the run ends where more workers must be Byzantine than were to be tolerated.

    Attributes:
        out: the workers that are left out, and since which step.
        lag, minimum, fail_closed: as given.
    """

    def __init__(self, lag: int, minimum: int = 0, fail_closed: bool = False) -> None:
        self.lag = lag
        self.minimum = minimum
        self.fail_closed = fail_closed
        self.out: dict[int, int] = {}

    @property
    @abstractmethod
    def proven(self) -> int:
        """How many of those that are out were proven Byzantine."""

    @abstractmethod
    def observe(self, step: int, events: Iterable[Event]) -> None:
        """Takes the events of a step, `lag` steps after it or when it is closed, whichever is first."""

    @abstractmethod
    def due(self, step: int) -> list[int]:
        """Workers that should be left out from `step` on."""

    def proof(self, worker: int, step: int) -> Event | None:
        """What the claims of all prove of a worker that is due at `step`; None where that rests on no such proof."""
        return None

    def exceeded(self, step: int) -> str:
        """Why more workers than were to be tolerated must be Byzantine, in words; empty where they need not be."""
        return ""

    def left(self, step: int) -> int:
        """How many of those that are not out must be Byzantine at the least, whatever q is."""
        return 0

    def suspect(self, step: int, edges: Iterable[Edge]) -> Edge | None:
        """Whose file to compute at the PS in `step`, and which.

        Args:
            step: the step.
            edges: who computes which file.
        """
        return None

    def checked(self, worker: int, step: int) -> None:  # noqa: B027
        """The PS computes a file of this worker in `step`."""

    def leave_out(self, worker: int, step: int) -> None:
        """The worker is out from `step` on."""
        self.out[worker] = step

    def spare(self, worker: int) -> None:
        """The worker is back, for too few would be left without it."""
        del self.out[worker]

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
