from itertools import combinations
from random import Random

import pytest
from histories import History, vote
from hypothesis import given, settings
from hypothesis import strategies as st

from detox.ps.disagreement import Conclusion, Disagreements, conclude
from detox.ps.events import Event, EventKind, Trait, kinds

FEW = st.integers(0, 5)


@st.composite
def graphs(draw, most=8):
    p = draw(st.integers(2, most))
    edges = draw(st.sets(st.sampled_from(list(combinations(range(p), 2)))))
    byzantine = draw(st.sets(st.integers(0, p - 1), max_size=3))
    return edges, byzantine


def neighbours(edges):
    graph = {}
    for one, other in edges:
        graph.setdefault(one, set()).add(other)
        graph.setdefault(other, set()).add(one)
    return graph


def explanations(edges, q, known):
    """Every set of at most q workers, the known ones among them, that has a part in each edge."""
    workers = sorted({worker for edge in edges for worker in edge} | known)
    sets = (set(some) for size in range(q + 1) for some in combinations(workers, size))
    return [some for some in sets if known <= some and all(some & set(edge) for edge in edges)]


@given(graphs(), FEW)
def test_who_is_in_every_explanation_is_proven_and_none_is_more_than_q(drawn, q):
    edges, known = drawn
    explained = explanations(edges, q, known)
    conclusion = conclude(neighbours(edges), q, known)
    assert bool(conclusion.exceeded) == (not explained)
    assert conclusion.proven.keys() == (set.intersection(*explained) if explained else known)


@settings(max_examples=50)
@given(graphs(), FEW)
def test_the_neighbours_named_are_workers_that_cannot_all_have_lied(drawn, q):
    edges, known = drawn
    conclusion = conclude(neighbours(edges), q, known)
    for worker, others in conclusion.proven.items():
        if worker in known:
            assert others == ()
        else:
            assert set(others) <= neighbours(edges)[worker] - known
            rest = {edge for edge in edges if not set(edge) & {worker, *others}}
            assert not [some for some in explanations(rest, q, known) if len(some | set(others)) <= q]


def _star(centre, *others):
    return {(centre, other) for other in others}


def test_more_neighbours_than_q_prove_and_q_follows():
    # 0 has three neighbours; without it one Byzantine worker is left, and 1 has two.
    edges = _star(0, 5, 6, 7) | _star(1, 5, 6)
    assert conclude(neighbours(edges), 2).proven == {0: (5, 6, 7), 1: (5, 6)}
    assert conclude(neighbours(edges), 3).proven == {}


def test_as_many_neighbours_as_q_prove_where_another_byzantine_worker_is_needed():
    edges = _star(0, 5, 6) | {(1, 7)}
    assert conclude(neighbours(edges), 2).proven == {0: (5, 6)}


def test_a_graph_too_hard_to_search_is_judged_by_neighbours_alone():
    p, q = 300, 165
    random = Random(1)
    hard = {tuple(sorted(random.sample(range(1, p), 2))) for _ in range(2 * p)}
    assert conclude(neighbours(hard), q) == Conclusion({})
    star = {(0, worker) for worker in range(1, q + 2)}
    assert conclude(neighbours(hard | star), q).proven.keys() == {0}


@pytest.mark.parametrize(
    ("edges", "known", "words"),
    [
        ({(0, 1), (2, 3)}, (), "one of each of these has lied: 0 and 1, 2 and 3"),
        ({(0, 1), (1, 2), (0, 2)}, (), "no 1 workers have a part in all disagreements"),
        ({(0, 1)}, (4,), "besides 4, who are proven to have lied, one of each of these has lied: 0 and 1"),
        ((), (4, 3), "2 workers are proven to have lied: 3, 4"),
    ],
)
def test_why_more_than_q_must_have_lied_is_said_and_then_only_acts_prove(edges, known, words):
    conclusion = conclude(neighbours(edges), 1, known)
    assert (conclusion.exceeded, conclusion.proven.keys()) == (words, set(known))


def _vote(step, file, claims):
    return vote(step, file, list(claims), claims)


def test_an_edge_is_two_workers_that_claimed_different_bits_whoever_won():
    graph = Disagreements(q=2)
    graph.observe(1, _vote(1, 0, {0: "lie", 1: "lie", 2: "truth", 3: None}))
    assert graph.proven(1) == {}
    graph.observe(2, _vote(2, 4, {0: "lie", 3: "truth", 4: "truth"}))
    assert graph.proven(2) == {0: (2, 3, 4)}


@pytest.mark.parametrize("kind", list(EventKind))
def test_an_act_that_is_a_proof_proves_alone_and_a_conclusion_adds_nothing(kind):
    graph = Disagreements(q=2)
    graph.observe(3, [Event(kind, 3, 5), Event(kind, 3, None, rank=1)])
    assert graph.proven(3) == ({5: ()} if kind in kinds(Trait.PROOF | Trait.OFFENCE) else {})
    graph = Disagreements(q=1)
    graph.observe(3, [Event(EventKind.PROVEN, 3, 5, others=(1, 2, 3))])
    assert graph.proven(3) == {}


def test_disagreements_and_acts_count_for_a_window_from_the_last_time_on():
    graph = Disagreements(q=1, window=3)
    graph.observe(1, _vote(1, 0, {0: "lie", 1: "truth"}))
    graph.observe(1, [Event(EventKind.LIED, 1, 0)])
    assert graph.proven(3) == {0: ()}
    assert graph.proven(4) == {}
    graph.observe(2, _vote(2, 0, {0: "lie", 2: "truth"}))
    graph.observe(4, _vote(4, 0, {0: "lie", 1: "truth"}))
    assert graph.proven(4) == {0: (1, 2)}
    assert graph.proven(5) == {}
    # Who was proven does not count against q for longer than its lies do: another may lie now, and one honest worker
    # that it contradicts is not proven by that.
    graph.observe(7, _vote(7, 0, {3: "lie", 1: "truth"}))
    assert (graph.proven(7), graph.exceeded(7)) == ({}, "")


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_no_honest_worker_is_ever_proven_and_q_never_exceeded(random):
    _honest_are_never_proven(History.draw(random, largest=8))


@given(st.integers(0, 2**32))
def test_none_is_in_larger_histories_either(seed):
    _honest_are_never_proven(History.draw(Random(seed)))


def _honest_are_never_proven(history):
    graph, before = Disagreements(history.q, history.window), set()
    for step, observed in history.observed():
        for at, events in observed:
            graph.observe(at, events)
        proven = graph.proven(step).keys()
        assert proven <= history.wrong_until(step)
        assert graph.exceeded(step) == ""
        assert history.window is not None or before <= proven
        before = set(proven)


@settings(max_examples=50)
@given(st.integers(0, 2**32))
def test_neither_repetition_nor_order_nor_a_checkpoint_changes_what_is_proven(seed):
    history = History.draw(Random(seed))
    one = other = Disagreements(history.q, history.window)
    for step, observed in history.observed():
        state, other = other.state(), Disagreements(history.q, history.window)
        other.restore(state)
        for at, events in observed:
            one.observe(at, events)
        for at, events in [*reversed(observed), *observed]:
            other.observe(at, reversed(events))
        assert one.proven(step) == other.proven(step)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14), st.sets(st.integers(0, 7), max_size=3))
def test_at_least_so_many_are_left_as_no_set_of_liars_can_do_without(pairs, out):
    graph = Disagreements(1)
    edges = {frozenset(pair) for pair in pairs if pair[0] != pair[1]}
    for one, other in map(sorted, edges):
        graph.observe(3, [Event(EventKind.DISSENTED, 3, one, 0, others=(other,))])
    left = {edge for edge in edges if not edge & out}
    covers = (set(c) for size in range(9) for c in combinations(range(8), size))
    smallest = next(len(cover) for cover in covers if all(edge & cover for edge in left))
    assert smallest / 2 <= graph.left(3, out) <= smallest
