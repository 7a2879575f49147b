"""What answers take, in the last steps and in the one under way, and from when on one is late."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from detox.assignment import Edge

_KEPT = 512  # answers
_FEW = 8  # answers, from which on the last ones say something
_MEDIANS = 2.5  # a machine half as fast as most is no fault; and what is late in one step delays the next
_DEVIATIONS = 8.0  # median absolute deviations: the last of a rank that computes one file after the other


class Times:
    """What the answers of one step take: claims, or gradients that were asked for."""

    def __init__(self) -> None:
        self._since: dict[Edge, float] = {}
        self._seconds: dict[Edge, float] = {}
        self._fresh: list[tuple[int, float]] = []
        self._late: float | None = None

    def ask(self, edges: Iterable[Edge], now: float) -> None:
        """These were asked for an answer."""
        self._since |= dict.fromkeys(edges, now)
        self._late = None

    def answer(self, edge: Edge, now: float) -> None:
        """One answered; what is not its first answer, or was not asked for, says nothing."""
        if edge in self._since and edge not in self._seconds:
            self._seconds[edge] = now - self._since[edge]
            self._fresh.append((edge[0], self._seconds[edge]))
            self._late = None

    def pop(self) -> list[tuple[int, float]]:
        """Workers that have answered since this was called last, and the seconds that it took."""
        fresh, self._fresh = self._fresh, []
        return fresh

    @property
    def since(self) -> Mapping[Edge, float]:
        """When each was asked."""
        return self._since

    @property
    def late(self) -> float:
        """Seconds after which an answer is late in this step; infinite until more than half have answered."""
        if self._late is None:
            self._late = _late(self._seconds.get(edge, math.inf) for edge in self._since)
        return self._late

    @property
    def late_of_most(self) -> float:
        """As `late`, by the answers alone that have come; infinite until more than half of the files have one.

        Where a file's next holder is asked because one did not answer, that one counts no longer.
        """
        most = 2 * len({file for _, file in self._seconds}) > len({file for _, file in self._since})
        return _late(self._seconds.values()) if most else math.inf


class Pace:
    """When an answer is late: after two and a half medians and eight median absolute deviations of what others take.

    Of the last answers, or of those of the step under way, whichever is more: where all are slower than before, nobody
    is late. A minority, however slow or quick, moves neither beyond what the others take; and nobody is late before
    more than half of those that were asked in the step have answered.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_KEPT)
        self._usual: float | None = None

    def learn(self, seconds: float) -> None:
        """An answer took so long."""
        self._last.append(seconds)
        self._usual = None

    @property
    def usual(self) -> float:
        """Seconds after which an answer is late by the last ones; infinite while these are few."""
        if self._usual is None:
            self._usual = math.inf if len(self._last) < _FEW else _late(self._last)
        return self._usual

    def late(self, step: Times) -> float:
        """Seconds after which an answer is late in a step; infinite while too little is known."""
        return step.late if math.isinf(self.usual) else max(step.late, self.usual)

    def late_of_few(self, step: Times) -> float:
        """As `late`, but by the last answers alone where so few were asked in the step that these say nothing."""
        return self.usual if len(step.since) < _FEW and math.isfinite(self.usual) else self.late(step)

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {"last": list(self._last)}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._last = deque(state["last"], maxlen=_KEPT)
        self._usual = None


def _late(seconds: Iterable[float]) -> float:
    """2.5 medians and 8 deviations, the upper ones; infinite where half of them or more are."""
    ordered = sorted(seconds)
    median = ordered[len(ordered) // 2] if ordered else math.inf
    if math.isinf(median):
        return math.inf
    deviation = sorted(abs(one - median) for one in ordered)[len(ordered) // 2]
    return _MEDIANS * median + _DEVIATIONS * deviation
