"""Where the seconds of a step go."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

PARTS = ("wait", "transfer", "vote", "aggregate", "update")


class Stopwatch:
    """Seconds by part of a step; "wait" (for the workers to compute) is what no other part took."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time inside for part `name`; parts do not nest."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - begin

    def read(self) -> dict[str, float]:
        """Seconds of each part up to now; they add up to the time since the start."""
        total = time.perf_counter() - self._begin
        rest = total - sum(seconds for name, seconds in self._seconds.items() if name != "wait")
        return {**self._seconds, "wait": rest}
