"""Quarantine of workers that offend too often."""

from collections.abc import Iterable
from typing import Any, Literal

from detox.assignment import Edge
from detox.ps.events import Event, EventKind, Trait, kinds
from detox.ps.quarantine import Quarantine

_PROOF = frozenset(kinds(Trait.PROOF))
_KEPT = frozenset((*kinds(Trait.OFFENCE), EventKind.CLEARED))

Policy = Literal["never", "majority", "recompute"]


class OffenceQuarantine(Quarantine):
    """A worker with `after` offences in `window` steps is due.

    Under "recompute" one of them has to be a proof; a worker that lacks it is a suspect, whose file the PS computes
    itself in a step that the worker cannot foresee: that convicts the suspect, or clears it of its dissents. A worker
    that has been convicted, but not often enough, is a suspect too.

    Where `lag` is until all late claims are in, decisions do not depend on when messages arrive.

    Args:
        policy: "never", "majority" (dissents suffice) or "recompute".
        after: offences that make a worker due.
        window: steps in which they have to fall.
        lag, minimum: see Quarantine.
    """

    def __init__(self, policy: Policy, after: int, window: int, lag: int, minimum: int = 0) -> None:
        super().__init__(lag, minimum)
        self.policy: Policy = policy
        self._after = after
        self._window = window
        self._events: dict[int, list[tuple[int, str]]] = {}
        self._checked: dict[int, int] = {}

    @property
    def proven(self) -> int:
        """All that are out, under "recompute"; of the outvoted none, for they may be honest."""
        return len(self.out) if self.policy == "recompute" else 0

    def observe(self, step: int, events: Iterable[Event]) -> None:
        """Takes the events of a step that is closed."""
        if self.policy == "never":
            return
        for event in events:
            if event.worker is not None and event.kind in _KEPT:
                self._events.setdefault(event.worker, []).append((step, event.kind.value))
        newest = max((at for kept in self._events.values() for at, _ in kept), default=step)
        for worker, kept in self._events.items():
            self._events[worker] = [(at, kind) for at, kind in kept if at > newest - self.lag - self._window]

    def due(self, step: int) -> list[int]:
        """Workers that should be left out from `step` on."""
        if self.policy == "never":
            return []
        return [
            worker
            for worker, offences in self._offences(step).items()
            if len(offences) >= self._after and (self.policy == "majority" or _PROOF & set(offences))
        ]

    def suspect(self, step: int, edges: Iterable[Edge]) -> Edge | None:
        """Whose file to compute at the PS in `step`, and which: of the worker that has not been checked for longest.

        What the check says of one that has only dissented is awaited for `lag` steps before it is checked again.

        Args:
            step: the step.
            edges: who holds which file.
        """
        if self.policy != "recompute":
            return None
        first: dict[int, int] = {}
        for worker, file in edges:
            first.setdefault(worker, file)
        last: dict[int, int] = {}
        for worker, offences in self._offences(step).items():
            checked = self._checked.get(worker, -self.lag)
            dissents = len(offences) >= self._after and not _PROOF & set(offences)
            if worker in first and ((dissents and checked < step - self.lag) or EventKind.CONVICTED in offences):
                last[worker] = checked
        if not last:
            return None
        worker = min(last, key=lambda w: (last[w], w))
        return worker, first[worker]

    def checked(self, worker: int, step: int) -> None:
        """The PS computes a file of this worker in `step`."""
        self._checked[worker] = step

    def _offences(self, step: int) -> dict[int, list[str]]:
        """The offences that count at `step`, of each worker that has any and is not in quarantine."""
        newest = step - 1 - self.lag
        found = {}
        for worker in sorted(self._events.keys() - self.out.keys()):
            counted: list[str] = []
            for at, kind in sorted(self._events[worker]):
                if newest - self._window < at <= newest:
                    cleared = kind == EventKind.CLEARED
                    counted = [k for k in counted if k in _PROOF] if cleared else [*counted, kind]
            if counted:
                found[worker] = counted
        return found

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {"out": dict(self.out), "events": dict(self._events), "checked": dict(self._checked)}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self.out = dict(state["out"])
        self._events = {worker: [(step, kind) for step, kind in events] for worker, events in state["events"].items()}
        self._checked = dict(state["checked"])
