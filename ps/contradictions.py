"""Quarantine of workers that must have lied, by who contradicted whom."""

from collections.abc import Iterable
from typing import Any

from detox.ps.disagreement import Disagreements
from detox.ps.events import Event, EventKind, Trait
from detox.ps.quarantine import Quarantine


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
