"""Where the seconds of a step go."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PARTS = ("wait", "transfer", "vote", "aggregate", "update")


class Stopwatch:
    """Seconds by part of a step; "wait" (for the workers to compute) is what no other part took.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begin = clock()
        self._seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time inside for part `name`; parts do not nest."""
        begin = self._clock()
        try:
            yield
        finally:
            self._seconds[name] += self._clock() - begin

    def read(self) -> dict[str, float]:
        """Seconds of each part up to now; they add up to the time since the start."""
        total = self._clock() - self._begin
        rest = total - sum(seconds for name, seconds in self._seconds.items() if name != "wait")
        return {**self._seconds, "wait": rest}
