from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from detox.aggregators.covers import cover, in_every_cover


@st.composite
def graphs(draw, most=8):
    n = draw(st.integers(0, most))
    edges = draw(st.sets(st.sampled_from(list(combinations(range(n), 2))))) if n > 1 else set()
    graph = {vertex: set() for vertex in range(n)}
    for one, other in edges:
        graph[one].add(other)
        graph[other].add(one)
    return graph


def covers(graph, budget):
    """All vertex covers of at most so many vertices, by trying every set."""
    edges = [(one, other) for one in graph for other in graph[one] if one < other]
    sets = (set(some) for size in range(budget + 1) for some in combinations(graph, size))
    return [some for some in sets if all(one in some or other in some for one, other in edges)]


@given(graphs(), st.integers(-1, 8))
def test_a_cover_is_found_where_there_is_one(graph, budget):
    found = cover(graph, budget)
    assert found in covers(graph, budget) if found is not None else not covers(graph, budget)


@given(graphs(), st.integers(-1, 8))
def test_what_is_in_every_cover_is_in_each_that_trying_all_sets_finds(graph, budget):
    expected = covers(graph, budget)
    assert in_every_cover(graph, budget) == (set.intersection(*expected) if expected else None)


@given(graphs(), st.integers(-1, 8), st.integers(0, 100))
def test_with_less_effort_fewer_vertices_are_found_and_none_is_wrong(graph, budget, effort):
    found, expected = in_every_cover(graph, budget, effort), in_every_cover(graph, budget)
    assert found == frozenset() or (expected is None and found is None) or found <= expected


def test_chains_and_rings_are_covered_without_a_search():
    n = 300  # of which a search would not end
    chain = {i: {i - 1, i + 1} & set(range(n)) for i in range(n)}
    ring = {i: {(i - 1) % n, (i + 1) % n} for i in range(n)}
    assert (len(cover(chain, 150)), cover(chain, 149)) == (150, None)
    assert (len(cover(ring, 150)), cover(ring, 149)) == (150, None)
