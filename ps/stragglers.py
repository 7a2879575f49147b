"""Stragglers: workers that missed a deadline are not waited for until they have answered again."""

from collections import Counter
from typing import Any

from detox.ps.events import Event, EventKind

_MOST = 10  # doublings


class Stragglers:
    """Who is not waited for, as the events of a run tell.

    After the first deadline that it missed, a worker has to answer one step, after the second two, then four, and so
    on: one that comes back only to be waited for again costs ever fewer deadlines.

    Args:
        missed: the kind of event that says that a worker had not answered when it was to.
    """

    def __init__(self, missed: EventKind) -> None:
        self._kind = missed
        self._missed: Counter[int] = Counter()
        self._owes: dict[int, int] = {}
        self._since: dict[int, int] = {}

    @property
    def workers(self) -> frozenset[int]:
        """The workers that are not waited for."""
        return frozenset(self._owes)

    def observe(self, event: Event) -> None:
        """Takes an event; an answer to a step that a worker missed does not end its absence."""
        if event.worker is None:
            return
        if event.kind == self._kind:
            self._miss(event.worker, event.step)
        elif event.kind == EventKind.HEARD:
            self._hear(event.worker, event.step)

    def _miss(self, worker: int, step: int) -> None:
        if worker not in self._owes:
            self._owes[worker] = 2 ** min(self._missed[worker], _MOST)
            self._missed[worker] += 1
        self._since[worker] = step

    def _hear(self, worker: int, step: int) -> None:
        if worker in self._owes and step > self._since[worker]:
            self._since[worker] = step
            self._owes[worker] -= 1
            if not self._owes[worker]:
                del self._owes[worker]

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {"missed": dict(self._missed), "owes": dict(self._owes), "since": dict(self._since)}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._missed = Counter(state["missed"])
        self._owes, self._since = dict(state["owes"]), dict(state["since"])
