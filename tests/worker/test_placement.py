from collections import Counter
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.worker.placement import How, Placement

GROUPS = tuple(tuple(range(first, first + 3)) for first in range(0, 15, 3))


@given(st.sampled_from(get_args(How)), st.integers(0, 15), st.integers(0, 99), st.integers(0, 50))
def test_there_are_always_q_byzantine_workers(how, q, seed, step):
    byzantine = Placement(how, 15, q, seed, GROUPS).byzantine(step)
    assert len(byzantine) == q
    assert byzantine <= set(range(15))


def test_random_changes_each_step_and_fixed_stays():
    random, fixed = Placement("random", 45, 5, 1), Placement("fixed", 45, 5, 1)
    assert len({random.byzantine(step) for step in range(20)}) == 20
    assert len({fixed.byzantine(step) for step in range(20)}) == 1


def test_random_places_every_worker_equally_often():
    placement = Placement("random", 15, 3, 2)
    counts = Counter(w for step in range(3000) for w in placement.byzantine(step))
    frequencies = np.array([counts[w] for w in range(15)]) / 3000
    assert np.abs(frequencies - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 3000)


@pytest.mark.parametrize(("q", "bad_groups"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)])
def test_worst_takes_a_majority_of_as_many_groups_as_q_allows(q, bad_groups):
    byzantine = Placement("worst", 15, q, 0, GROUPS).byzantine(1)
    assert sum(len(byzantine & set(group)) >= 2 for group in GROUPS) == bad_groups


def _in_groups(how, q):
    byzantine = Placement(how, 15, q, 0, GROUPS).byzantine(1)
    return [len(byzantine & set(group)) for group in GROUPS]


@given(st.integers(0, 15))
def test_spread_reaches_as_many_groups_as_it_can_and_none_twice_before_all_once(q):
    counts = _in_groups("spread", q)
    assert sum(count > 0 for count in counts) == min(q, 5)
    assert max(counts) - min(counts) <= 1


@given(st.integers(0, 15))
def test_group_takes_whole_groups_and_at_most_one_in_part(q):
    counts = _in_groups("group", q)
    assert counts.count(3) == q // 3
    assert sum(0 < count < 3 for count in counts) == (q % 3 > 0)


def test_groups_of_any_members_are_placed_by():
    groups = ((4, 7, 1), (0, 2, 8), (3, 5, 6))
    assert Placement("group", 9, 3, 0, groups).byzantine(5) == {4, 7, 1}
    assert Placement("spread", 9, 3, 0, groups).byzantine(5) == {4, 0, 3}
    assert Placement("worst", 9, 4, 0, groups).byzantine(5) == {4, 7, 0, 2}


def test_as_many_honest_workers_are_framed_for_as_long_as_the_byzantine_ones_stay():
    fixed, random = Placement("fixed", 15, 4, 1), Placement("random", 15, 4, 1)
    for step in range(1, 6):
        assert len(random.framed(step)) == 4
        assert not random.framed(step) & random.byzantine(step)
        assert fixed.framed(step) == fixed.framed(1)
    assert len({random.framed(step) for step in range(1, 6)}) > 1
    assert len(Placement("fixed", 5, 3, 1).framed(1)) == 2  # all that are honest
