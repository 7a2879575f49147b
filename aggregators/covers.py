"""Vertex covers: sets of vertices that hold an end of every edge.

A graph is a mapping from a vertex to the set of its neighbours, each edge under both of its ends.
"""

from collections.abc import Mapping, Set
from typing import TypeAlias

Graph: TypeAlias = Mapping[int, Set[int]]


def without(graph: Graph, gone: Set[int]) -> dict[int, Set[int]]:
    """The graph that is left when some vertices are removed."""
    return {vertex: others - gone for vertex, others in graph.items() if vertex not in gone}


def cover(graph: Graph, budget: int) -> frozenset[int] | None:
    """A vertex cover of at most `budget` vertices; None where there is none.

    By branching: a vertex is in the cover, or all of its neighbours are. That takes a vertex with three neighbours or
    more, for chains and rings are covered without a choice; so there are at most 1.4656^budget leaves (Cygan et al.
    2015, Parameterized Algorithms, section 3.1).
    """
    if budget < 0:
        return None
    graph = {vertex: others for vertex, others in graph.items() if others}
    if not graph:
        return frozenset()
    for others in graph.values():
        if len(others) == 1:  # whatever this vertex covers, its neighbour covers too
            return _with(others, graph, budget)
    vertex = max(graph, key=lambda i: len(graph[i]))
    others = graph[vertex]
    if sum(map(len, graph.values())) > 2 * budget * len(others):  # more edges than so many vertices have
        return None
    found = _with({vertex}, graph, budget)
    if found is None and len(others) > 2:  # in rings, any vertex is in a least cover
        found = _with(others, graph, budget)
    return found


def _with(chosen: Set[int], graph: Graph, budget: int) -> frozenset[int] | None:
    """A cover that holds the vertices chosen."""
    rest = cover(without(graph, chosen), budget - len(chosen))
    return None if rest is None else rest | chosen


def in_every_cover(graph: Graph, budget: int) -> frozenset[int] | None:
    """The vertices that are in every vertex cover of at most `budget` vertices; None where there is no such cover."""
    common = cover(graph, budget)
    if common is None:
        return None
    for vertex in sorted(common):
        if vertex in common:
            # A cover without the vertex holds all of its neighbours.
            other = _with(graph[vertex], graph, budget)
            common = common if other is None else common & other
    return common
