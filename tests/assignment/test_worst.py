from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detox.assignment import SCHEMES
from detox.assignment.worst import spectral_bound, worst


def spoiled(holders, byzantine):
    return sum(2 * len(set(byzantine).intersection(of_one)) > len(of_one) for of_one in holders)


def most(holders, q):
    """The definition: all sets of q workers."""
    workers = sorted({worker for of_one in holders for worker in of_one})
    return max(spoiled(holders, chosen) for chosen in combinations(workers, q))


FILES = st.integers(5, 9).flatmap(
    lambda p: st.lists(
        st.lists(st.integers(0, p - 1), min_size=1, max_size=5, unique=True).map(tuple), min_size=1, max_size=12
    ).map(tuple)
)


@settings(deadline=None)
@given(FILES, st.integers(0, 5))
def test_of_any_files_the_search_finds_what_all_sets_of_workers_show(holders, q):
    q = min(q, len({worker for of_one in holders for worker in of_one}))
    found = worst(holders, q)
    assert found.exact
    assert len(set(found.workers)) == q
    assert found.files == spoiled(holders, found.workers) == most(holders, q)


@pytest.mark.parametrize(
    ("name", "p", "r", "first", "counts"),
    [
        ("mols", 15, 3, 2, [1, 3, 5, 8, 12, 14]),
        ("ramanujan", 15, 3, 2, [1, 3, 5, 8, 12, 14]),
        ("ramanujan", 25, 5, 3, [1, 1, 2, 4]),
        ("mols", 35, 5, 3, [1, 1, 2, 4]),
        ("steiner", 15, 3, 2, [1, 3, 6, 10, 15, 19]),
        ("steiner", 45, 3, 2, [1, 3, 6, 10, 15, 21, 28, 36, 45]),
        ("mols", 45, 3, 2, [1, 3, 5, 8, 12, 16, 21, 27, 33]),
    ],
)
def test_exact_counts_are_those_of_the_papers_tables(name, p, r, first, counts):
    found = [SCHEMES[name](p, r).worst(q) for q in range(first, first + len(counts))]
    assert all(one.exact for one in found)
    assert [one.files for one in found] == counts
    assert SCHEMES[name](p, r).worst(first - 1).bound == 0


@pytest.mark.parametrize(
    ("p", "counts"),
    [(25, {7: 5, 8: 7, 9: 9, 10: 12, 11: 14, 12: 17}), (35, {7: 5, 8: 8, 9: 10, 10: 11, 11: 14, 12: 16, 13: 20})],
)
def test_where_the_search_ends_early_the_best_placement_is_the_released_one(p, counts):
    blocks = SCHEMES["ramanujan"](p, 5).blocks
    for q, count in counts.items():
        found = worst(blocks, q, effort=20_000)
        assert found.files == count <= found.bound <= spectral_bound(blocks, q)


@pytest.mark.parametrize(
    ("name", "p", "r"), [("mols", 15, 3), ("steiner", 13, 3), ("ramanujan", 25, 5), ("mols", 9, 3)]
)
def test_the_spectral_bound_is_the_papers_and_holds(name, p, r):
    blocks = SCHEMES[name](p, r).blocks
    for q in range(1, 5):
        assert most(blocks, q) <= spectral_bound(blocks, q)
    if name != "steiner":  # its second eigenvalue is 1/r
        load = len(blocks) * r // p
        for q in range(1, p + 1):
            assert spectral_bound(blocks, q) == min(
                len(blocks), int(2 * q * q / r / (1 + (r - 1) * q / (r * load)) + 1e-9)
            )


@pytest.mark.parametrize("q", range(16))
def test_of_groups_the_worst_is_that_of_the_definition(q):
    scheme = SCHEMES["fixed"](3)
    found = worst(scheme.draw(1, range(15)).holders, q)
    assert found.exact
    assert found.files == scheme.worst_case(q, 5)


@pytest.mark.parametrize("q", range(9))
def test_of_lazy_copies_the_worst_is_no_more_than_their_bound(q):
    scheme = SCHEMES["fixed"](3, lazy=True)
    holders = scheme.draw(1, range(16)).holders
    found = worst(holders, q)
    assert found.exact
    assert found.files <= scheme.worst_case(q, len(holders))
