"""The graph of disagreements: who claimed something else than whom, and which workers must have lied."""

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from detox.aggregators.covers import Graph, in_every_cover, matching, without
from detox.ps.events import Event, Trait, kinds

_VOTED = frozenset(kinds(Trait.BY_VOTE))
_ACTS = frozenset(kinds(Trait.PROOF | Trait.OFFENCE))
_EFFORT = 50_000
"""Vertices and edges that a search of all covers may look at, which is about 20 ms. With 5 Byzantine workers of 45
it takes 1,000, with 25 of 225 up to 35,000; but Byzantine workers can make a graph that takes for ever."""


@dataclass(frozen=True)
class Conclusion:
    """What a graph of disagreements proves, given that at most q workers lied.

    Attributes:
        proven: the workers that must have lied, each with the neighbours that prove it; none where its own act does.
        exceeded: why more than q must have lied, in words; empty where q can have. Nothing follows from q then, and
            only those are proven whose own act does it.
    """

    proven: dict[int, tuple[int, ...]]
    exceeded: str = ""


def conclude(graph: Graph, q: int, byzantine: Iterable[int] = ()) -> Conclusion:
    """Who must have lied.

    Honest workers claim the same for a file, so that those who lied are a vertex cover of the graph: they hold an end
    of each edge. A worker is proven if all covers of at most q workers hold it. One with more than q neighbours is,
    for without it all of them would be in the cover. It is removed with its edges, q falls by one, and that may prove
    others. Among the rest, all covers are searched, which finds everybody who is proven; where that takes too long,
    the number of neighbours alone decides.

    Args:
        graph: neighbours of each worker; see detox.aggregators.covers.
        q: workers that lied, at most.
        byzantine: workers that are known to have lied, whatever the graph says.
    """
    known: dict[int, tuple[int, ...]] = dict.fromkeys(sorted(byzantine), ())
    graph, q = without(graph, known.keys()), q - len(known)
    if q < 0:
        return Conclusion(known, f"{len(known)} workers are proven to have lied: {_few(known)}")
    besides = f"besides {_few(known)}, who are proven to have lied, " if known else ""
    if len(pairs := matching(graph)) > q:
        named = _few(f"{one} and {other}" for one, other in pairs)
        return Conclusion(known, f"{besides}one of each of these has lied: {named}")
    proven, rest = frozenset[int](), graph
    while found := {worker for worker, others in rest.items() if len(others) > max(0, q - len(proven))}:
        proven, rest = proven | found, without(rest, found)
    certain = in_every_cover(rest, q - len(proven), _EFFORT)
    if certain is None:
        return Conclusion(known, f"{besides}no {q} workers have a part in all disagreements")
    return Conclusion(known | {worker: tuple(sorted(graph[worker])) for worker in sorted(proven | certain)})


class Disagreements:
    """The graph of disagreements of a run: an edge between two workers that claimed different bits for one file.

    Sound where honest workers compute equal bits (not under vote = "tolerance", nor for a worker that has missed a step
    under worker momentum), and at most q workers are wrong within any `window` steps: then no honest worker is ever
    proven, whoever lies about what, wins the vote, or keeps silent.

    What is proven is proven of the window that ends at the step: an edge counts for `window` steps from the last one
    in which it was seen, and so does a worker's own proof. So a worker that was proven need not be so for ever, and
    where its lies are too old to count, q other workers may lie: whoever puts the proven out keeps them out, and
    nothing here follows from who is out. Without a window nothing is forgotten, and who is proven stays so, unless more
    than q turn out to have lied, or Byzantine workers make a graph that is too hard to search.

    Keeps a step for each two workers that have disagreed: p(p-1)/2 numbers at most.

    Args:
        q: workers that are wrong within any window, at most.
        window: steps for which a disagreement counts; None: for ever.
    """

    def __init__(self, q: int, window: int | None = None) -> None:
        self._q = q
        self._window = window
        self._last: dict[int, dict[int, int]] = {}  # worker -> neighbour -> last step, both ways
        self._acts: dict[int, int] = {}  # worker -> last step
        self._concluded: dict[int, Conclusion] = {}  # of the graph as it is, by step

    def observe(self, step: int, events: Iterable[Event]) -> None:
        """Takes the events of a step, in any order and as often as there are more of them.

        An edge is what a vote says of a worker and of the `others` that claimed something else. A contradiction of the
        worker's own (equivocated, lied) or with the PS (convicted) proves it without any. What has been concluded from
        the graph (proven) adds nothing to it.
        """
        self._concluded.clear()
        for event in events:
            if event.worker is None:
                continue
            if event.kind in _ACTS:
                self._acts[event.worker] = max(step, self._acts.get(event.worker, step))
            if event.kind in _VOTED:
                for other in event.others:
                    self._note(event.worker, other, step)
                    self._note(other, event.worker, step)

    def proven(self, step: int) -> dict[int, tuple[int, ...]]:
        """The workers that must have lied, each with the neighbours that prove it; none of them for its own acts.

        Args:
            step: at whose end the window ends; later than all that has been observed, or equal to the last of it.
        """
        return self._conclude(step).proven

    def exceeded(self, step: int) -> str:
        """Why more than q workers must have lied, in words; empty where q can explain all. See Conclusion.exceeded.

        Args:
            step: see proven.
        """
        return self._conclude(step).exceeded

    def left(self, step: int, out: Set[int]) -> int:
        """Workers that must have lied beside those that are out, whatever q is and whoever is out: at least so many.

        Args:
            step: see proven.
            out: workers.
        """
        graph, known = self._at(step)
        return len(known - out) + len(matching(without(graph, known | out)))

    def _conclude(self, step: int) -> Conclusion:
        if step not in self._concluded:
            graph, known = self._at(step)
            self._concluded[step] = conclude(graph, self._q, known)
        return self._concluded[step]

    def _at(self, step: int) -> tuple[dict[int, set[int]], set[int]]:
        """The graph of what counts, and those whose own acts do."""
        first = -math.inf if self._window is None else step - self._window + 1
        return {worker: _since(first, last) for worker, last in self._last.items()}, _since(first, self._acts)

    def _note(self, worker: int, other: int, step: int) -> None:
        last = self._last.setdefault(worker, {})
        last[other] = max(step, last.get(other, step))

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {"last": {worker: dict(last) for worker, last in self._last.items()}, "acts": dict(self._acts)}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._concluded.clear()
        self._last = {worker: dict(last) for worker, last in state["last"].items()}
        self._acts = dict(state["acts"])


def _since(first: float, last: Mapping[int, int]) -> set[int]:
    """The keys whose step is `first` or later."""
    return {key for key, step in last.items() if step >= first}


def _few(names: Iterable[object]) -> str:
    words = list(map(str, names))
    return ", ".join(words[:10]) + ", ..." * (len(words) > 10)
