import math
from random import Random
from statistics import mean, median

import pytest

from detox.assignment.theory import until_audited
from detox.reports.choices import Choice
from detox.reports.search import LIMITS, keeping, searched, usual, value
from detox.reports.simulation import TRUTH, Behaviour, count, said, simulate


def blind(choice):
    """The config without a quarantine, so that nobody is ever out."""
    return choice.config.model_copy(
        update={"quarantine": choice.config.quarantine.model_copy(update={"policy": "never"})}
    )


@pytest.mark.parametrize("choice", usual(45, 5, 3, 0.5, 0), ids=str)
def test_the_simulation_has_as_many_bad_votes_as_the_formulas_say(choice):
    steps = 600
    for behaviour, expected in (
        (Behaviour(5), choice.bad_by_byzantine),
        (Behaviour(5, when="unanimous"), choice.unseen),
        (Behaviour(1, alike=False), choice.bad_by_fault / choice.rate),
    ):
        if expected is not None:
            bad = simulate(blind(choice), behaviour, 1, steps).bad
            assert bad == pytest.approx(expected * steps, abs=5 * math.sqrt(expected * steps) + 1e-9)


@pytest.mark.parametrize("choice", usual(45, 5, 3, 1, 0), ids=str)
def test_copies_are_those_that_are_asked_for(choice):
    """The definition: count what workers and PS are asked for, with nobody Byzantine, and with five that all lie."""
    scheme, random, computed, attacked, files, steps = choice.config.create_scheme(1), Random(1), 0, 0, 0, 300
    for step in range(1, steps + 1):
        assignment = scheme.draw(step, range(45))
        byzantine = set(random.sample(range(45), 5))
        files += len(assignment.holders)
        audited = set(random.sample(range(len(assignment.holders)), choice.config.audit.ps))
        for file, holders in enumerate(assignment.holders):
            asked = assignment.first[file] if assignment.first else len(holders)
            for lying in (set(), byzantine):
                claims = {worker: "lie" if worker in lying else TRUTH for worker in holders}
                called = len(count(holders, asked, claims, TRUTH if file in audited else None).called)
                computed, attacked = computed + called * (not lying), attacked + called * bool(lying)
    by_ps = choice.config.audit.ps * steps
    assert choice.copies == pytest.approx((computed + by_ps) / files)
    assert choice.copies_attacked == pytest.approx((attacked + by_ps) / files, rel=0.01)


def test_lies_where_nobody_contradicts_end_when_the_formula_says():
    choice = Choice.create(15, 4, 3, lazy=True, audited=1)
    outcomes = [simulate(choice.config, Behaviour(4, when="unanimous"), seed, 10**4) for seed in range(100)]
    bad, steps = until_audited(15, 4, 2, 1)
    assert mean(one.bad for one in outcomes) == pytest.approx(bad, rel=0.25)
    assert mean(one.named for one in outcomes) == pytest.approx(steps, rel=0.25)


@pytest.mark.parametrize(
    ("size", "when", "named", "bad"),
    [
        ((45, 5, 3), "always", 8, 7),
        ((45, 5, 5), "always", 5, 3),
        ((45, 5, 3), "majority", 2000, 14),
        ((45, 5, 5), "majority", 2000, 5),
        ((45, 9, 3), "majority", 2000, 43),
        ((45, 10, 5), "majority", 2000, 18),
    ],
)
def test_a_simulated_run_keeps_to_what_was_found_by_counting_neighbours_alone(size, when, named, bad):
    p, q, r = size
    choice = Choice.create(p, q, r)
    outcomes = [simulate(choice.config, Behaviour(q, when=when), seed, 2000) for seed in range(10)]
    assert all(one.named is not None and one.named <= named and one.bad <= bad for one in outcomes)
    assert not any(one.honest for one in outcomes)


def test_steps_in_which_nobody_is_wrong_are_skipped_and_counted():
    choice = Choice.create(45, 5, 3)
    often, rarely = (
        median(simulate(choice.config, Behaviour(1, rate, alike=False), seed, 100).named for seed in range(60))
        for rate in (1, 0.001)
    )
    assert rarely == pytest.approx(1000 * (often - 1), rel=0.5)


def test_without_anybody_who_computes_again_nobody_is_ever_named():
    choice = Choice.create(9, 2, 1, runs=1)
    assert not choice.checked
    assert simulate(choice.config, Behaviour(2), 0, 50).named is None
    assert choice.always is choice.fault is choice.worst is None


def test_the_next_holders_are_asked_as_in_a_run():
    claims = {0: TRUTH, 1: "lie", 2: TRUTH}
    assert count((0, 1, 2), 2, claims).called == (0, 1, 2)
    assert count((0, 2, 1), 2, claims).called == (0, 2)
    assert count((0, 1, 2), 2, {0: TRUTH, 1: None, 2: TRUTH}).called == (0, 1, 2)
    convicted = said(count((1, 0), 2, {0: "lie", 1: "lie"}, TRUTH), 1, 0)
    assert [event.kind for event in convicted] == ["convicted"] * 2


def test_the_search_finds_the_cheapest_of_all_that_keep_the_limits():
    choices = searched(15, 2, 1.0, 5)
    for limits in ({"overhead": 0.2, "named": 30}, {"byzantine": 10}, {"bad": 20}):
        right = [
            choice
            for choice in choices
            if all(value(choice, name) is not None and value(choice, name) <= most for name, most in limits.items())
        ]
        assert right
        assert next(keeping(choices, limits)).overhead == min(choice.overhead for choice in right)
    assert set(LIMITS) == {"overhead", "named", "byzantine", "bad"}


def test_what_so_few_workers_cannot_do_is_left_out():
    assert Choice.create(2, 1, 3) is None
    assert Choice.create(44, 5, 3) is None
    assert Choice.create(3, 1, 1, auditors=2) is None
    assert [str(choice) for choice in usual(2, 1, 3, 1, 0)] == ["r = 1", "r = 1, audit.ps = 1"]
