"""Where the seconds of a step go."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

PARTS = ("wait", "transfer", "vote", "aggregate", "update")
WAITS = ("weights", "compute", "claims", "fetch")
"""What "wait" is made of, one after the other, by the worker that was the last to compute before each file had its
majority: the way of the weights, until its rank began the first of its files; until this worker had computed, so a rank
of several workers computes for all of them; until these majorities had claimed; gradients on their way. Where gradients
come without a claim, all that comes behind the last worker's computing is "fetch"."""


class Stopwatch:
    """Seconds by part of a step; "wait" (for the workers to compute) is what no other part took.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begin = clock()
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._last = 0.0, 0.0  # "wait" when a worker had computed, and for how long its rank had
        self._agreed: float | None = None  # "wait" when each file had its majority
        self._computing: list[float] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time inside for part `name`; parts do not nest."""
        begin = self._clock()
        try:
            yield
        finally:
            self._seconds[name] += self._clock() - begin

    def computed(self, seconds: float, since: float) -> None:
        """A worker says that it has computed, for so long, and how long ago its rank began to."""
        wait = max(self._last[0], self.read()["wait"])  # which may be a rounding error less
        if self._agreed is None:
            self._last = wait, min(wait, since)
        self._computing.append(min(wait, seconds))

    def agree(self) -> None:
        """Each file has a majority that claims the same; what workers do after that, nobody waits for."""
        if self._agreed is None:
            self._agreed = max(self._last[0], self.read()["wait"])

    def waits(self) -> dict[str, float]:
        """Seconds of what was waited for, see WAITS; they add up to "wait"."""
        last, computing = self._last
        agreed = last if self._agreed is None else self._agreed
        wait = max(agreed, self.read()["wait"])
        return dict(zip(WAITS, (last - computing, computing, agreed - last, wait - agreed), strict=True))

    def computing(self) -> dict[str, float]:
        """The median of what workers say that computing took, and the most; empty where none has said it."""
        return {"median": median(self._computing), "slowest": max(self._computing)} if self._computing else {}

    def read(self) -> dict[str, float]:
        """Seconds of each part up to now; they add up to the time since the start."""
        total = self._clock() - self._begin
        rest = total - sum(seconds for name, seconds in self._seconds.items() if name != "wait")
        return {**self._seconds, "wait": rest}
