"""Vertex covers: sets of vertices that hold an end of every edge.

A graph is a mapping from a vertex to the set of its neighbours, each edge under both of its ends.
"""

import math
from collections.abc import Mapping, Set
from typing import TypeAlias

Graph: TypeAlias = Mapping[int, Set[int]]


def without(graph: Graph, gone: Set[int]) -> dict[int, Set[int]]:
    """The graph that is left when some vertices are removed."""
    return {vertex: others - gone for vertex, others in graph.items() if vertex not in gone}


def matching(graph: Graph) -> list[tuple[int, int]]:
    """Edges without a common end, to which none can be added: any vertex cover holds an end of each.

    The vertices with the fewest neighbours choose first, and choose among theirs the one with the fewest.
    """
    order = sorted(graph, key=lambda vertex: (len(graph[vertex]), vertex))
    place = {vertex: number for number, vertex in enumerate(order)}
    taken = set[int]()
    pairs = []
    for vertex in order:
        if vertex not in taken and (free := graph[vertex] - taken):
            other = min(free, key=place.__getitem__)
            taken |= {vertex, other}
            pairs.append((vertex, other))
    return pairs


def cover(graph: Graph, budget: int) -> frozenset[int] | None:
    """A vertex cover of at most `budget` vertices; None where there is none.

    By branching: a vertex is in the cover, or all of its neighbours are. That takes a vertex with three neighbours or
    more, for chains and rings are covered without a choice; so there are at most 1.4656^budget leaves (Cygan et al.
    2015, Parameterized Algorithms, section 3.1).
    """
    return _Search().cover(graph, budget)


def in_every_cover(graph: Graph, budget: int, effort: float = math.inf) -> frozenset[int] | None:
    """The vertices that are in every vertex cover of at most `budget` vertices; None where there is no such cover.

    Args:
        graph: the graph.
        budget: vertices of a cover, at most.
        effort: vertices and edges that may be looked at, those of each branch anew; where it takes more, only the
            vertices that were found by then are returned, or none.
    """
    search, certain = _Search(effort), frozenset[int]()
    try:
        common = search.cover(graph, budget)
        if common is None:
            return None
        for vertex in sorted(common):
            if vertex in common:
                # A cover without the vertex holds all of its neighbours.
                others = graph[vertex]
                rest = search.cover(without(graph, others), budget - len(others))
                if rest is None:
                    certain |= {vertex}
                else:
                    common &= rest | others
    except _TooHardError:
        pass
    return certain


class _TooHardError(Exception):
    """A search has taken all the effort that it was given."""


class _Search:
    """A search that is given up when it takes more than so much effort."""

    def __init__(self, effort: float = math.inf) -> None:
        self._effort = effort

    def cover(self, graph: Graph, budget: int) -> frozenset[int] | None:
        """See the function."""
        if len(matching(graph)) > budget:
            return None
        chosen = frozenset[int]()
        while True:
            graph = {vertex: others for vertex, others in graph.items() if others}
            ends = sum(map(len, graph.values()))
            self._effort -= len(graph) + ends / 2
            if self._effort < 0:
                raise _TooHardError
            if budget < 0:
                return None
            if not graph:
                return chosen
            # What the only neighbour of a vertex covers is all that the vertex covers, and more.
            surely = next((others for others in graph.values() if len(others) == 1), None)
            if surely is None:
                vertex = max(graph, key=lambda i: len(graph[i]))
                others = graph[vertex]
                if ends > 2 * budget * len(others):
                    return None
                if len(others) > 2:
                    break
                surely = {vertex}  # of a ring
            chosen |= surely
            graph, budget = without(graph, surely), budget - len(surely)
        for some in ({vertex}, others):
            rest = self.cover(without(graph, some), budget - len(some))
            if rest is not None:
                return rest | some | chosen
        return None
