"""How long workers take, and from when on one is late."""

import statistics
from collections import deque
from collections.abc import Iterable

_KEPT = 512  # answers
_FEW = 8  # answers, from which on there is a pace
_MEDIANS = 2.0  # who was late with one file computes the next one after it: twice is not late
_DEVIATIONS = 8.0  # median absolute deviations beyond these


class Pace:
    """When an answer is late: after twice the median of the last ones and eight of their median absolute deviations.

    A minority, however slow or quick, moves neither beyond what the others take.

    Args:
        floor: seconds; nobody is late before.
        ceiling: seconds; everybody is late then, and while too little is known.
    """

    def __init__(self, floor: float, ceiling: float) -> None:
        self._floor = min(floor, ceiling)
        self._ceiling = ceiling
        self._seconds: deque[float] = deque(maxlen=_KEPT)

    def heard(self, seconds: Iterable[float]) -> None:
        """Answers took so long."""
        self._seconds.extend(seconds)

    @property
    def patience(self) -> float:
        """Seconds until an answer is late."""
        if len(self._seconds) < _FEW:
            return self._ceiling
        median = statistics.median(self._seconds)
        deviation = statistics.median(abs(seconds - median) for seconds in self._seconds)
        return min(max(self._floor, _MEDIANS * median + _DEVIATIONS * deviation), self._ceiling)
