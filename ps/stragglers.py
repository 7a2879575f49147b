"""Stragglers: workers that missed a deadline are not waited for until they have answered again."""

from collections import Counter
from collections.abc import Iterable

_MOST = 10  # doublings


class Stragglers:
    """Who is not waited for.

    After the first deadline that it missed, a worker has to answer one step, after the second two, then four, and so
    on: one that comes back only to be waited for again costs ever fewer deadlines.
    """

    def __init__(self) -> None:
        self._missed: Counter[int] = Counter()
        self._owes: dict[int, int] = {}
        self._since: dict[int, int] = {}

    @property
    def workers(self) -> frozenset[int]:
        """The workers that are not waited for."""
        return frozenset(self._owes)

    def missed(self, step: int, workers: Iterable[int]) -> None:
        """These workers had not answered at the deadline of `step`."""
        for worker in workers:
            if worker not in self._owes:
                self._owes[worker] = 2 ** min(self._missed[worker], _MOST)
                self._missed[worker] += 1
            self._since[worker] = step

    def answered(self, worker: int, step: int) -> None:
        """The worker has answered `step`; an answer to a step that it missed does not count."""
        if worker in self._owes and step > self._since[worker]:
            self._since[worker] = step
            self._owes[worker] -= 1
            if not self._owes[worker]:
                del self._owes[worker]
