import re
from collections import Counter
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.assignment import SCHEMES

NAMES = ["mols", "ramanujan", "steiner"]
SHAPES = st.sampled_from(
    [shape for shape in product(NAMES, range(3, 61), (3, 5, 7)) if not SCHEMES[shape[0]].why_not(*shape[1:])]
)


def shared(blocks):
    """How many files each two workers share that share any."""
    return Counter(pair for block in blocks for pair in combinations(sorted(block), 2))


@given(SHAPES)
def test_files_have_r_holders_and_workers_equal_loads_and_two_share_one_at_most(shape):
    name, p, r = shape
    blocks = SCHEMES[name](p, r).draw(1, range(p)).holders
    assert len(blocks) == SCHEMES[name].files(p, r)
    assert all(len(set(block)) == r for block in blocks)
    loads = Counter(worker for block in blocks for worker in block)
    assert set(loads.values()) == {len(blocks) * r // p}
    assert set(loads) == set(range(p))
    assert set(shared(blocks).values()) == {1}


@pytest.mark.parametrize(
    ("p", "r"),
    [*((p, 3) for p in (7, 9, 13, 15, 19, 25, 31, 45)), (21, 5), (25, 5), (41, 5), (45, 5), (49, 7), (81, 9)],
)
def test_in_a_steiner_system_each_two_workers_share_a_file(p, r):
    assert shared(SCHEMES["steiner"](p, r).blocks) == dict.fromkeys(combinations(range(p), 2), 1)


@pytest.mark.parametrize(
    ("name", "p", "r", "files", "load"),
    [
        ("mols", 15, 3, 25, 5),
        ("mols", 35, 5, 49, 7),
        ("mols", 45, 3, 225, 15),
        ("mols", 45, 5, 81, 9),  # a prime power: the authors' program is wrong here
        ("ramanujan", 15, 3, 25, 5),
        ("ramanujan", 25, 5, 25, 5),
        ("steiner", 15, 3, 35, 7),
        ("steiner", 45, 3, 330, 22),
    ],
)
def test_files_and_loads_are_those_of_the_papers(name, p, r, files, load):
    blocks = SCHEMES[name](p, r).blocks
    assert len(blocks) == files
    assert sum(0 in block for block in blocks) == load


@pytest.mark.parametrize(("p", "r", "s"), [(15, 3, 5), (35, 5, 7), (25, 5, 5), (21, 3, 7)])
def test_ramanujan_is_made_of_powers_of_the_cyclic_shift(p, r, s):
    """The papers' biadjacency matrix: block (j, i) is the s x s shift to the power i j."""
    files = {}
    for j, i, y in product(range(r), range(s), range(s)):
        files.setdefault((i, (y - i * j) % s), set()).add(j * s + y)
    assert set(map(frozenset, files.values())) == set(map(frozenset, SCHEMES["ramanujan"](p, r).blocks))


@pytest.mark.parametrize(("side", "r"), [(5, 3), (7, 5)])
def test_where_the_side_is_prime_the_squares_are_those_of_byzshield(side, r):
    """Worker (a - 1) l + ((a i + j) mod l) holds (i, j) for a = 1 ... r: ours are those of a = 0 ... r - 1."""
    theirs = {
        frozenset((a - 1) * side + (a * i + j) % side for a in range(1, r + 1))
        for i, j in product(range(side), repeat=2)
    }
    # With i + j in place of j, a becomes a + 1.
    assert theirs == set(map(frozenset, SCHEMES["mols"](side * r, r).blocks))


@pytest.mark.parametrize(
    ("name", "p", "r", "words"),
    [
        ("mols", 16, 3, "take p = 15 or 18$"),
        ("mols", 45, 7, "take p = 49, or r = 3$"),
        ("ramanujan", 27, 3, "with a prime s of r or more; take p = 21 or 33$"),
        ("ramanujan", 45, 3, "take p = 39 or 51$"),
        ("steiner", 17, 3, "take p = 15 or 19$"),
        ("steiner", 30, 5, "take p = 25 or 41$"),
        ("steiner", 15, 4, "r = 4 is even, and a majority vote needs an odd number"),
        ("mols", 15, 1, "r = 1: a design needs r = 3 or more"),
        ("steiner", 1003, 3, "167501 files in a step are more than 4096"),
    ],
)
def test_what_there_is_not_names_the_nearest_that_there_is(name, p, r, words):
    assert re.search(words, SCHEMES[name].why_not(p, r)), SCHEMES[name].why_not(p, r)


@given(SHAPES)
def test_the_nearest_that_are_named_fit(shape):
    name, p, r = shape
    kind = SCHEMES[name]
    for other in (p - 1, p + 1):
        why = kind.why_not(other, r)
        for named in why.partition("; take p = ")[2].partition(",")[0].split(" or ") if "; take p" in why else ():
            assert not kind.why_not(int(named), r) or "files in a step" in kind.why_not(int(named), r)


@given(SHAPES, st.integers(0, 2**64), st.integers(1, 9))
def test_in_secret_workers_take_other_places_each_step(shape, seed, step):
    name, p, r = shape
    public, secret = SCHEMES[name](p, r), SCHEMES[name](p, r, seed)
    assert public.draw(step, range(p)) == public.draw(step + 1, range(p))
    one, other = secret.draw(step, range(p)).holders, secret.draw(step + 1, range(p)).holders
    assert p < 13 or one != other
    assert one == SCHEMES[name](p, r, seed).draw(step, range(p)).holders
    assert sorted(shared(one).values()) == sorted(shared(public.blocks).values())


@given(SHAPES, st.integers(1, 9), st.data())
def test_in_quarantine_a_worker_takes_no_bad_vote_with_it(shape, step, data):
    name, p, r = shape
    out = data.draw(st.sets(st.integers(0, p - 1), max_size=4))
    scheme = SCHEMES[name](p, r, 5)
    whole = scheme.draw(step, range(p)).holders
    left = scheme.draw(step, [worker for worker in range(p) if worker not in out]).holders
    assert list(left) == [
        tuple(w for w in of_one if w not in out) for of_one in whole if len(out.intersection(of_one)) <= 1
    ]
    assert all(len(of_one) // 2 + 1 == (r + 1) // 2 for of_one in left)


@pytest.mark.parametrize(("name", "p", "r"), [("steiner", 9, 3), ("mols", 12, 3), ("ramanujan", 25, 5)])
def test_the_worst_case_holds_whoever_is_out(name, p, r):
    scheme, q = SCHEMES[name](p, r), 3 if r == 3 else 4
    for out in [(0,), (1, 5), (0, 4, p - 1)]:
        workers = [worker for worker in range(p) if worker not in out]
        holders = scheme.draw(1, workers).holders
        for chosen in combinations(workers, q):
            bad = sum(2 * len(set(chosen).intersection(of_one)) > len(of_one) for of_one in holders)
            assert bad <= scheme.worst_case(q, len(holders))
