import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.ps.ballots import Outcome
from detox.ps.ballots.tolerance import NearTally, distance
from detox.ps.events import EventKind

BOUND = 0.01
D = 50
HONEST = np.random.default_rng(0).standard_normal(D).astype(np.float32)
LENGTH = np.linalg.norm(HONEST)


def _noisy(vector, seed, size):
    noise = np.random.default_rng(seed).standard_normal(vector.size)
    return (vector + size * np.linalg.norm(vector) * noise / np.linalg.norm(noise)).astype(np.float32)


def _vote(copies, members):
    """The ballot after these copies, in this order."""
    ballot, before = NearTally(members, BOUND), {}
    for worker, copy in copies.items():
        apart = {other: distance(copy, theirs, D) for other, theirs in before.items()}
        ballot.compare(worker, {**apart, worker: distance(copy, copy, D)})
        before[worker] = copy
    return ballot


def test_the_distance_is_relative_to_the_longer_vector():
    ones, zeros, huge = np.ones(3, np.float32), np.zeros(3, np.float32), np.full(3, 1e38, np.float32)
    assert distance(HONEST, HONEST, D) == 0
    assert distance(HONEST, 2 * HONEST, D) == pytest.approx(0.5)
    assert distance(zeros, zeros, 3) == 0
    assert distance(zeros, ones, 3) == 1
    assert distance(ones * np.float32(np.nan), ones, 3) == float("inf")
    assert distance(huge, -huge, 3) == pytest.approx(2)


def test_long_buffers_hide_nothing_of_a_short_gradient():
    # ResNet-18's statistics are hundreds of times as long as a late gradient.
    buffers = np.full(30, 100.0, np.float32)
    honest, lie = np.concatenate([HONEST, buffers]), np.concatenate([-HONEST, buffers])
    assert distance(honest, lie, D) == pytest.approx(2)
    assert distance(honest, np.concatenate([HONEST, 1.1 * buffers]), D) == pytest.approx(1 / 11)


@given(st.integers(1, 200_000), st.integers(0, 10**6))
def test_the_distance_is_the_definition_at_every_length(n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, n)).astype(np.float32)
    wide = a.astype(float), b.astype(float)
    expected = np.linalg.norm(wide[0] - wide[1]) / max(map(np.linalg.norm, wide))
    assert distance(a, b, n) == distance(b, a, n) == pytest.approx(expected)


def test_exact_buffers_are_equal_or_the_copies_do_not_agree_however_long_they_are():
    exact, statistics = np.full(8, 32767, np.float32), np.ones(4, np.float32)
    honest = np.concatenate([HONEST, statistics, exact])
    lie = np.concatenate([HONEST, np.float32(1.1) * statistics, exact])
    assert distance(honest, lie, D, 8) == pytest.approx(1 / 11)
    other = honest.copy()
    other[-1] -= 1
    assert distance(honest, other, D, 8) == float("inf")
    assert distance(honest, honest, D, 8) == 0


def test_nearly_equal_copies_outvote_a_lie_and_none_of_them_is_blamed():
    ballot = _vote({7: _noisy(HONEST, 1, 0.002), 3: -HONEST, 9: _noisy(HONEST, 2, 0.002)}, (3, 7, 9))
    assert (ballot.majority, ballot.supporters, ballot.outcome) == (7, [7, 9], Outcome.MAJORITY)
    assert [ballot.says_of(worker) for worker in (3, 7, 9)] == [EventKind.DISSENTED, EventKind.AGREED, EventKind.AGREED]


def test_without_a_strict_majority_of_all_members_there_is_no_vote():
    assert _vote({}, (1, 2, 3)).majority is None
    assert _vote({1: HONEST}, (1, 2, 3)).majority is None
    ballot = _vote({1: HONEST, 2: -HONEST, 3: 2 * HONEST}, (1, 2, 3))
    assert (ballot.majority, ballot.outcome) == (None, Outcome.NONE)
    assert ballot.says_of(1) == EventKind.UNDECIDED


def test_what_is_not_finite_is_near_to_nothing_not_even_to_itself():
    bad = np.full(D, np.nan, np.float32)
    assert _vote({1: bad, 2: bad, 3: bad}, (1, 2, 3)).majority is None
    ballot = _vote({1: bad, 2: HONEST, 3: HONEST}, (1, 2, 3))
    assert (ballot.majority, ballot.says_of(1)) == (2, EventKind.DISSENTED)


def test_who_sent_nothing_is_silent_and_who_sent_garbage_dissents():
    ballot = _vote({1: HONEST, 2: HONEST}, (1, 2, 3, 4, 5))
    assert ballot.majority is None
    ballot = _vote({1: HONEST, 2: HONEST, 5: HONEST}, (1, 2, 3, 4, 5))
    ballot.claim(3, None)
    assert (ballot.says_of(3), ballot.says_of(4)) == (EventKind.DISSENTED, EventKind.SILENT)


def test_the_centre_is_preferred_to_the_edges_of_a_chain():
    step = np.zeros(D, np.float32)
    step[0] = 0.9 * BOUND * LENGTH
    ballot = _vote({1: HONEST - step, 2: HONEST, 3: HONEST + step}, (1, 2, 3))
    assert (ballot.majority, ballot.supporters) == (2, [1, 2, 3])


def test_who_pulls_the_centre_away_does_not_make_an_honest_worker_dissent():
    # Seven workers: 4, 5 and 6 lie, on the far side of 0, 1 and 2 from 3, a quarter of the bound from its fellows.
    direction = np.zeros(D, np.float32)
    direction[0] = BOUND * LENGTH
    at = dict(enumerate([0, 0, 0, 0.25, -(1 - 0.125), -(1 + 0.125), -(1 + 0.125)]))
    ballot = _vote({worker: HONEST + np.float32(place) * direction for worker, place in at.items()}, range(7))
    assert ballot.majority == 4
    assert ballot.says_of(3) == EventKind.UNDECIDED


@given(st.lists(st.sampled_from([-1.0, 1.0, 1.004, 1.008, 1.012, 3.0, np.nan]), min_size=1, max_size=5), st.randoms())
def test_it_is_the_definition_whatever_the_order_of_arrival(factors, random):
    copies = {worker: (factor * HONEST).astype(np.float32) for worker, factor in enumerate(factors)}
    workers = list(copies)
    random.shuffle(workers)
    ballot = _vote({worker: copies[worker] for worker in workers}, range(5))
    ranked = []
    for worker in copies:
        near = [other for other in copies if distance(copies[worker], copies[other], D) <= BOUND]
        if len(near) > 2.5:
            distances = sum(sorted(distance(copies[worker], copies[other], D) for other in near))
            ranked.append((-len(near), distances, worker, near))
    assert ballot.majority == (min(ranked)[2] if ranked else None)
    assert sorted(ballot.supporters) == (min(ranked)[3] if ranked else [])


@given(st.sampled_from([(3, 1), (5, 2), (7, 3)]), st.integers(0, 10**6), st.floats(0, 3), st.floats(0.01, 0.49))
def test_a_minority_neither_moves_the_vote_far_nor_makes_an_honest_worker_dissent(sizes, seed, lie, noise):
    r, byzantine = sizes
    rng = np.random.default_rng(seed)
    # In a plane and at all lengths up to 3 bounds: where Byzantine workers can do most.
    plane = np.linalg.qr(rng.standard_normal((D, 2)))[0].T * BOUND * LENGTH
    places = [rng.standard_normal(2) for _ in range(r)]
    lengths = [noise] * (r - byzantine) + [lie] * byzantine
    copies = [
        (HONEST + (length * place / np.linalg.norm(place)) @ plane).astype(np.float32)
        for place, length in zip(places, lengths, strict=True)
    ]
    honest = range(r - byzantine)
    # The noise keeps honest copies within the bound of each other, which is the condition.
    assert all(distance(copies[i], copies[j], D) <= BOUND for i, j in itertools.combinations(honest, 2))
    ballot = _vote(dict(enumerate(copies)), range(r))
    assert ballot.majority is not None
    assert min(distance(copies[ballot.majority], copies[i], D) for i in honest) <= BOUND
    assert EventKind.DISSENTED not in {ballot.says_of(i) for i in honest}
