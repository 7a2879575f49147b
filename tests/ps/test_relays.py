"""Which ranks pass slices on: pure, by complaints, steps, and who is out."""

from dataclasses import astuple
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.ps.relays import Relays
from detox.wire.slices import Routes, divide

ALL = set(range(1, 10))


def choose(relays, step=1, ready=ALL, out=frozenset()):
    return set(relays.choose(step, set(ready), set(out)).relays)


def test_all_ranks_that_are_ready_and_not_out_pass_slices_on():
    relays = Relays(ALL, 2)
    assert relays.choose(1, set(ALL), set()) == Routes(tuple(sorted(ALL)))
    assert choose(relays, ready=ALL - {3}, out={4}) == ALL - {3, 4}


def test_where_less_than_half_are_left_nobody_does():
    relays = Relays(ALL, 2)
    assert choose(relays, out={1, 2, 3, 4}) == {5, 6, 7, 8, 9}
    assert choose(relays, out={1, 2, 3, 4, 5}) == set()


def test_a_rank_rests_of_which_more_than_q_complain_or_that_complains_of_more():
    for about in (True, False):
        relays = Relays(ALL, 2)
        for others in (1, 2, 3):
            assert choose(relays) == ALL
            relays.complain(1, others if about else 9, 9 if about else others)
        assert choose(relays) == ALL - {9}


def test_who_rests_gets_slices_but_who_says_that_most_did_not_come_whole_weights():
    relays = Relays(ALL, 2)
    for other in (1, 2, 3):
        relays.complain(1, other, 8)
        relays.complain(1, 9, other)
    assert relays.choose(2, set(ALL), set()) == Routes((1, 2, 3, 4, 5, 6, 7), (8,), (9,))
    assert relays.choose(2, ALL - {9}, {8}) == Routes((1, 2, 3, 4, 5, 6, 7), (), (8,))
    assert relays.choose(2, set(ALL), {1, 2, 3}) == Routes(whole=tuple(sorted(ALL)))


def with_resting(resting, n, q, servers=1):
    """Relays of ranks 0 to n - 1, and all of them, of which these rest."""
    relays = Relays(range(n), q, servers)
    for one, other in product(resting, set(range(n)) - set(resting)):
        relays.complain(1, other, one)
    return relays, set(range(n))


@given(st.integers(1, 200), st.integers(1, 8), st.integers(0, 40), st.integers(1, 99), st.data())
def test_where_q_ranks_rest_relays_send_no_more_than_a_bit_more_than_the_weights(n, servers, q, step, data):
    hostile = data.draw(st.sets(st.integers(0, n - 1), max_size=q))
    relays, ranks = with_resting(hostile, n, q, servers)
    late = data.draw(st.sets(st.sampled_from(sorted(hostile)))) if hostile else set()
    routes = relays.choose(step, ranks, late)
    assert sorted(routes.relays + routes.resting + routes.whole) == sorted(ranks)
    if routes.relays:
        longest = max(1 / (servers * len(part)) for part in divide(routes.relays, [1] * servers))  # in d

        def sent(resting):
            return longest * (len(routes.relays) + resting - 1)

        assert sent(len(routes.resting)) <= max(1.08, sent(0)) + 1e-9
        assert len(routes.whole) <= q  # beside slices of d: so the servers send d + q d
        assert set(routes.whole) == late or sent(len(routes.resting) + 1) > 1.08  # no more than need be


def test_of_five_of_45_that_rest_one_gets_the_weights_whole_each_in_its_turn():
    hostile = {3, 9, 20, 21, 44}
    relays, ranks = with_resting(hostile, 45, 5)
    chosen = [relays.choose(step, ranks, set()) for step in range(1, 6)]
    assert all(set(routes.relays) == ranks - hostile for routes in chosen)
    assert [len(routes.resting) for routes in chosen] == [4] * 5
    assert {rank for routes in chosen for rank in routes.whole} == hostile


def test_where_more_than_q_rest_no_more_than_q_get_the_weights_whole():
    relays, ranks = with_resting(range(15), 45, 2)
    assert [len(some) for some in astuple(relays.choose(1, ranks, set()))] == [30, 13, 2]
    assert [len(some) for some in astuple(relays.choose(1, ranks, {44}))] == [29, 14, 2]
    assert [len(some) for some in astuple(relays.choose(1, ranks, {42, 43, 44}))] == [27, 15, 3]


def test_whatever_q_ranks_do_no_honest_rank_rests_of_it():
    byzantine = {4, 7}
    relays = Relays(ALL, 2)
    for one, other in product(byzantine, ALL):
        relays.complain(1, one, other)
        relays.complain(1, other, one)
    assert choose(relays) == ALL - byzantine


def test_those_that_complain_of_all_rest_and_nobody_else_of_it():
    relays = Relays(ALL, 0)
    for slow, other in product((8, 9), ALL):
        relays.complain(1, slow, other)
    assert choose(relays) == ALL - {8, 9}


def test_among_many_ranks_a_few_complaints_are_chance():
    many = set(range(1, 46))
    relays = Relays(many, 0)
    for other in range(1, 6):
        relays.complain(1, other, 45)
    assert choose(relays, ready=many) == many
    relays.complain(1, 6, 45)
    assert choose(relays, ready=many) == many - {45}


@pytest.mark.parametrize("q", [0, 1, 5])
def test_chance_that_seldom_comes_to_the_same_two_makes_nobody_rest(q):
    many = set(range(45))
    relays = Relays(many, q)
    for step in range(1, 200):
        assert choose(relays, step, many) == many
        if step % 11 == 0:  # three of 33 steps
            for rank, near in product(many, (1, 2)):
                relays.complain(step, rank, (rank + near) % 45)


@pytest.mark.parametrize("victims", [2, 5, 6, 44])
def test_a_rank_that_withholds_from_the_same_few_rests_most_steps(victims):
    many = set(range(1, 46))
    relays, passes = Relays(many, 1), []
    for step in range(1, 400):
        chosen = choose(relays, step, many)
        assert chosen >= many - {45}
        passes += [step] if 45 in chosen else []
        for other in range(1, 1 + victims) if 45 in chosen else ():
            relays.complain(step, other, 45)
    assert all(sum(first <= step < first + 33 for step in passes) <= 4 for first in range(1, 400))


def test_a_rank_that_withholds_from_five_by_turns_rests_half_of_the_steps():
    many = set(range(1, 46))
    relays, passes = Relays(many, 1), []
    for step in range(1, 400):
        if 45 in choose(relays, step, many):
            passes.append(step)
            relays.complain(step, 1 + step % 5, 45)
    # q edges may be there as often as they like; of each of the other four, three steps are chance.
    assert all(sum(first <= step < first + 33 for step in passes) <= 17 for first in range(1, 400))


def test_a_complaint_counts_once_for_two_ranks_and_of_itself_not_at_all():
    relays = Relays(ALL, 1)
    for _ in range(5):
        relays.complain(1, 2, 3)
        relays.complain(1, 3, 2)
        relays.complain(1, 5, 5)
    assert choose(relays) == ALL


def test_complaints_are_forgotten_after_a_while():
    relays = Relays(ALL, 1)
    for other in (1, 2):
        relays.complain(5, other, 9)
    assert choose(relays, step=37) == ALL - {9}
    assert choose(relays, step=38) == ALL
