"""Quarantine: workers that offend too often, or that must have lied, are left out of the groups."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Literal

from detox.assignment import Edge
from detox.ps.disagreement import Disagreements
from detox.ps.events import Event, EventKind, Trait, kinds

_PROOF = frozenset(kinds(Trait.PROOF))
_KEPT = frozenset((*kinds(Trait.OFFENCE), EventKind.CLEARED))

Policy = Literal["never", "majority", "recompute"]


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


class GraphQuarantine(Quarantine):
    """A worker that must have lied is due, by the graph of disagreements; see Disagreements for when that is sound.

    It takes no computation at the PS. What was claimed in a step counts after the next one, so that decisions do not
    hang on the milliseconds in which a claim arrives; what came later than that counts when the step is closed.

    Args:
        q: workers that are wrong within any window, at most.
        window: steps for which a disagreement counts; None: for ever.
        minimum, fail_closed: see Quarantine.
    """

    def __init__(self, q: int, window: int | None = None, minimum: int = 0, fail_closed: bool = False) -> None:
        super().__init__(1, minimum, fail_closed)
        self._q = q
        self._window = window
        self._graph = Disagreements(q, window)
        self._kept: dict[int, list[Event]] = {}  # of steps that do not count yet
        self._views: dict[int, Disagreements] = {}  # of what counts at a step

    @property
    def proven(self) -> int:
        """All that are out; with a window none counts, for once their faults are past, q others may be wrong."""
        return len(self.out) if self._window is None else 0

    def observe(self, step: int, events: Iterable[Event]) -> None:
        """Takes who contradicted whom, and who contradicted itself."""
        self._views.clear()
        told = [event for event in events if event.others or event.kind.has(Trait.PROOF)]
        self._kept.setdefault(step, []).extend(told)
        for old in [at for at in self._kept if at < max(self._kept) - self.lag]:
            self._graph.observe(old, self._kept.pop(old))

    def due(self, step: int) -> list[int]:
        """The proven that are not out yet."""
        return [worker for worker in self._as_of(step).proven(step) if worker not in self.out]

    def proof(self, worker: int, step: int) -> Event | None:
        """Its neighbours in the graph; None where its own messages prove it, of which there is an event already."""
        others = self._as_of(step).proven(step)[worker]
        detail = f"q = {self._q} Byzantine workers without it cannot explain who contradicts whom"
        return Event(EventKind.PROVEN, step, worker, detail=detail, others=others) if others else None

    def exceeded(self, step: int) -> str:
        """Why q is too small."""
        return self._as_of(step).exceeded(step)

    def left(self, step: int) -> int:
        """By contradictions between those that are not out, and what they did themselves."""
        return self._as_of(step).left(step, self.out.keys())

    def _as_of(self, step: int) -> Disagreements:
        """The graph of what counts at `step`: where a job ends more is known, and a resumed one must not differ."""
        if step not in self._views:
            self._views = {step: self._view(step)}
        return self._views[step]

    def _view(self, step: int) -> Disagreements:
        graph = Disagreements(self._q, self._window)
        graph.restore(self._graph.state())
        for at, events in self._kept.items():
            if at < step - self.lag:
                graph.observe(at, events)
        return graph

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {"out": dict(self.out), "graph": self._graph.state(), "kept": self._packed()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._views.clear()
        self.out = dict(state["out"])
        self._graph.restore(state["graph"])
        self._kept = {
            step: [Event(EventKind[kind], step, worker, others=tuple(others)) for kind, worker, others in events]
            for step, events in state["kept"].items()
        }

    def _packed(self) -> dict[int, list[tuple[str, int | None, tuple[int, ...]]]]:
        return {
            step: [(event.kind.name, event.worker, event.others) for event in events]
            for step, events in self._kept.items()
        }
