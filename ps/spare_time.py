"""Whether the PS has the time to compute a file while it waits for the workers."""

from collections import deque
from statistics import median
from typing import Any

_KEPT = 8  # steps of each kind
_FEW = 4  # of them, from which on they say something
_ROOM = 1.25  # times its own computing that the workers have to take
_LONGER = 1.05  # times as long, from which on steps count as lengthened
_REST = 16  # steps without, after steps that were; doubled each time
_DOUBLINGS = 6


class SpareTime:
    """Compares the wait in steps in which the PS computes a file with that in steps in which it does not.

    It computes one while the workers take a quarter longer than it does, and that makes no wait longer. Where workers
    have to share its core or device with it, that does: the medians of the last eight steps of each kind are compared.
    Where waits were 5 % longer it leaves off for 16 steps, the next time for 32, up to 1024. One step in eight is
    without, to compare with.
    """

    def __init__(self) -> None:
        self._with: deque[float] = deque(maxlen=_KEPT)
        self._without: deque[float] = deque(maxlen=_KEPT)
        self._own = 0.0  # seconds that it last took
        self._rest = 0  # steps
        self._rests = 0
        self._since = 0  # steps in a row with one

    @property
    def enough(self) -> bool:
        """Whether there is time for a file in the next step."""
        if len(self._without) < _FEW or self._rest or self._since >= _KEPT - 1:
            return False
        return median(self._without) >= _ROOM * self._own

    def learn(self, own: float, waited: float) -> None:
        """A step is over.

        Args:
            own: seconds that the PS computed files itself; 0 where it did not.
            waited: seconds in which it waited for the workers, or computed.
        """
        if not own:
            self._without.append(waited)
            self._rest, self._since = max(0, self._rest - 1), 0
            return
        self._with.append(waited)
        self._own = own
        self._since += 1
        if len(self._with) < _FEW or len(self._without) < _FEW:
            return
        if median(self._with) > _LONGER * median(self._without):
            self._rest = _REST * 2**self._rests
            self._rests = min(self._rests + 1, _DOUBLINGS)
            self._with.clear()
        elif len(self._with) == _KEPT:
            self._rests = 0

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {
            "with": list(self._with), "without": list(self._without),
            "counts": [self._rest, self._rests, self._since], "own": self._own,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._with, self._without = (deque(state[name], maxlen=_KEPT) for name in ("with", "without"))
        self._rest, self._rests, self._since = state["counts"]
        self._own = state["own"]
