"""Whom the PS waits for, over histories of arrivals that are played by a clock of the test's."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detox.ps.events import EventKind
from detox.ps.pace import Times
from detox.ps.patience import Patience, Wait

CREDIT = 5.0


class History:
    """Steps in which every worker's claim is awaited: of all copies (spare), or of one of each file (needed).

    Time goes by in parts of a step's length until then, of which there are `grain`.
    """

    def __init__(self, p, needed=True, deadline="auto", grain=100):
        self.p, self.needed, self.grain = p, needed, grain
        self.patience = Patience(p, deadline)
        self.now, self.events, self.heard = 0.0, [], {}
        self._coming = []  # (when, claims of its step, step, worker)

    def step(self, arrivals):
        """Plays one step, given the seconds that each takes; returns its length.

        The claims of the step come when they come, those of earlier steps too.
        """
        step, began, claims = len(self.heard) + 1, self.now, Times()
        self._hear()
        self.patience.begin(self.now)
        claims.ask([(worker, 0) for worker in range(self.p)], self.now)
        for worker, seconds in enumerate(arrivals):
            self._coming.append((began + seconds, claims, step, worker))
        self._coming.sort(key=lambda item: item[0])
        self.heard[step] = set()
        while True:
            self._hear()
            out = self.patience.given_up if self.needed else self.patience.late
            waits = [Wait(w, began, self.needed) for w in range(self.p) if w not in self.heard[step] | out]
            if not waits:
                return self.now - began
            if self.now - began > self.patience.deadline(claims):
                self.patience.miss(claims)
                return self.now - began
            self.events += self.patience.turn(step, self.now, waits, claims)
            next_ = self._coming[0][0] if self._coming else math.inf
            self.now = min(max(next_, self.now), self.now + 0.0005 + (self.now - began) / self.grain)

    def _hear(self):
        while self._coming and self._coming[0][0] <= self.now:
            when, of, at, worker = self._coming.pop(0)
            of.answer((worker, 0), when)
            self.heard[at].add(worker)
            self.events += self.patience.hear(at, of)

    def passed_over(self):
        return {event.worker for event in self.events if event.kind == EventKind.PASSED_OVER}


@st.composite
def fleets(draw):
    """An honest fleet: what step and worker take. Workers of a rank compute one after the other."""
    random = Random(draw(st.integers(0, 2**32)))
    ranks, hosted = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    seconds = draw(st.sampled_from([0.002, 0.05, 1.0, 30.0]))
    slower = [1 + draw(st.sampled_from([0.0, 1.0])) * random.random() for _ in range(ranks)]
    slower[0] = 2.0
    noise = draw(st.sampled_from([0.0, 0.05, 0.2]))
    compiling = draw(st.sampled_from([0.0, 3.0]))

    def arrivals(step):
        found = []
        for rank in range(ranks):
            at = compiling * random.random() * seconds if step == 1 else 0.0
            for _ in range(hosted):
                at += seconds * slower[rank] * (1 + noise * random.random())
                found.append(at)
        return found

    return ranks * hosted, arrivals


@settings(max_examples=30)
@given(fleets(), st.booleans())
def test_in_an_honest_fleet_of_machines_that_are_unequal_nobody_is_passed_over(fleet, needed):
    p, arrivals = fleet
    history = History(p, needed, grain=60)
    for step in range(1, 16):
        seconds = arrivals(step)
        assert history.step(seconds) == pytest.approx(max(seconds), rel=0.02, abs=1e-3)
        history.now += 40.0 if step % 5 == 0 else 0.0  # an evaluation
    assert history.passed_over() == set()


@settings(max_examples=8)
@given(st.integers(3, 46), st.integers(0, 2**32))
def test_on_a_busy_machine_stalls_of_a_second_cost_no_honest_worker_its_vote(p, seed):
    history, random = History(p, grain=60), Random(seed)
    for _ in range(25):
        stalls = [random.random() if random.random() < 1 / (10 * p) else 0.0 for _ in range(p)]
        seconds = [0.2 * random.uniform(1, 3) + stall for stall in stalls]
        assert history.step(seconds) == pytest.approx(max(seconds), rel=0.02, abs=1e-3)
    assert history.passed_over() == set()


def test_where_all_become_slower_at_once_nobody_is_passed_over():
    history = History(9)
    for seconds in [0.01] * 10 + [4.0, 0.01, 50.0]:
        assert history.step([seconds * (1 + w / 20) for w in range(9)]) == pytest.approx(seconds * 1.4, rel=0.02)
    assert history.passed_over() == set()


def test_one_that_answers_just_before_the_old_deadline_costs_its_credit_once():
    for needed, once in ((True, CREDIT), (False, 0.5)):
        history = History(9, needed)
        for _ in range(4):
            history.step([0.02] * 9)
        lengths = [history.step([57.0] + [0.02] * 8) for _ in range(200)]
        assert lengths[0] == pytest.approx(once + 0.05, rel=0.02)
        assert max(lengths[1:]) < 0.03
        assert history.passed_over() == {0}
        assert sum(event.kind == EventKind.PASSED_OVER for event in history.events) == 1


@settings(max_examples=25)
@given(
    st.integers(5, 16), st.booleans(), st.sampled_from([0.01, 0.3, 8.0]), st.integers(0, 2**32),
    st.sampled_from(["below late", "the whole credit", "half a second", "now and then", "at any time"]),
)  # fmt: skip
def test_colluders_cost_their_credit_and_then_no_more_than_machines_half_as_fast(p, needed, seconds, seed, how):
    history, random = History(p, needed, grain=60), Random(seed)
    colluders = range(random.randint(1, (p - 1) // 2))
    spans = {
        "below late": lambda step: 2.49 * seconds, "the whole credit": lambda step: 2.5 * seconds + 4.9,
        "half a second": lambda step: 2.5 * seconds + 0.49,
        "now and then": lambda step: 20 * seconds if random.random() < 0.3 else seconds,
        "at any time": lambda step: 100 * seconds * random.random(),
    }  # fmt: skip
    n = 40
    for step in range(n):
        slow = [spans[how](step) for _ in colluders]
        history.step(slow + [seconds] * (p - len(colluders)))
    assert history.passed_over() <= set(colluders)
    credit = len(colluders) * (max(CREDIT, 2 * 2.5 * seconds) + 0.05 * history.now)
    assert history.now <= n * 2.5 * seconds * 1.05 + credit
    if how == "half a second" and seconds < 1 and not needed:
        assert history.passed_over() == set(colluders)


def test_who_keeps_up_again_is_waited_for_again_and_that_is_an_event():
    history = History(9)
    for step in range(20):
        history.step([30.0 if step in (5, 6) else 0.02] + [0.02] * 8)
        history.now += 10.0
    kinds = [(event.kind, event.worker) for event in history.events]
    assert kinds == [(EventKind.PASSED_OVER, 0), (EventKind.CAUGHT_UP, 0)]
    assert history.step([0.5] + [0.02] * 8) == pytest.approx(0.5, rel=0.02)


def test_one_passed_over_that_answers_is_waited_for_half_as_long_if_a_vote_needs_it():
    history = History(9)
    for _ in range(4):
        history.step([1.0] * 9)
    history.step([20.0] + [1.0] * 8)
    history.now += 20.0  # it has answered meanwhile
    assert history.step([1.2] + [1.0] * 8) == pytest.approx(1.2, rel=0.02)
    assert history.step([9.0] + [1.0] * 8) == pytest.approx(1.25, rel=0.03)


def test_a_slow_model_trains():
    history = History(9)
    assert history.step([400.0 + w for w in range(9)]) == pytest.approx(408, rel=0.01)  # the first: eight minutes
    slower = History(9)
    assert slower.step([900.0] * 9) == pytest.approx(480, rel=0.01)
    later = [slower.step([900.0] * 9) for _ in range(2)]  # what has come of the first one teaches that
    assert later == [pytest.approx(900, rel=0.01)] * 2
    assert history.passed_over() == slower.passed_over() == set()


@pytest.mark.parametrize("seconds", [70.0, 110.0, 400.0])
def test_where_all_become_slower_than_the_deadline_it_follows_them(seconds):
    history = History(9)
    for _ in range(100):
        history.step([0.1] * 9)
    lengths = [history.step([seconds] * 9) for _ in range(6)]
    assert lengths[:1] == [pytest.approx(60, rel=0.01)]
    assert lengths[3:] == [pytest.approx(seconds, rel=0.01)] * 3
    assert history.passed_over() == set()


def test_where_nobody_answers_the_deadline_doubles_and_falls_again():
    history = History(9)
    for _ in range(3):
        history.step([0.1] * 9)
    lengths = [history.step([math.inf] * 9) for _ in range(5)]
    assert lengths == pytest.approx([60, 120, 240, 480, 480], rel=0.01)
    history.step([0.1] * 9)
    assert history.step([math.inf] * 9) == pytest.approx(60, rel=0.01)


def test_the_first_step_of_a_job_has_eight_minutes_after_a_checkpoint_too():
    before, after = History(9), History(9)
    for _ in range(20):
        before.step([0.1] * 9)
    after.patience.restore(before.patience.state())
    assert after.step([200.0 + w for w in range(9)]) == pytest.approx(208, rel=0.01)
    assert after.step([math.inf] * 9) > 60
    assert after.passed_over() == set()


def test_what_a_worker_has_spent_is_given_back_while_time_goes_by():
    history = History(3)
    for step in range(600):  # half a second beyond being late, each 40 s
        history.step([3.0 if step % 40 == 39 else 1.0, 1.0, 1.0])
    assert history.passed_over() == set()


def test_who_catches_up_in_the_middle_of_a_step_is_waited_for_in_it():
    patience, claims = Patience(9), [Times() for _ in range(4)]
    began = [0.0, 20.0, 40.0, 60.0]
    for step, since in enumerate(began):
        claims[step].ask([(worker, 0) for worker in range(9)], since)
        patience.begin(since)
        for worker in range(1, 9):
            claims[step].answer((worker, 0), since + 1.0)
        patience.hear(step, claims[step])
        if step == 0:  # passed over: the credit is spent
            for tenths in range(10, 100):
                patience.turn(step, tenths / 10, [Wait(0, 0.0, True)], claims[0])
            assert patience.given_up == {0}
        elif step < 3:
            claims[step].answer((0, 0), since + 1.2)
            if step == 1:
                patience.hear(step, claims[step])
    patience.hear(2, claims[2])
    assert patience.turn(3, 61.6, [Wait(0, 60.0, True)], claims[3]) == []
    assert patience.given_up == frozenset()


def test_where_it_is_known_what_steps_take_one_without_votes_ends_after_a_minute():
    history = History(9)
    for _ in range(3):
        history.step([0.1] * 9)
    assert history.step([math.inf] * 9) == pytest.approx(60, rel=0.01)


def test_a_deadline_that_is_given_is_waited_for_by_what_is_needed():
    history = History(9, deadline=12.0)
    assert history.step([math.inf] + [0.1] * 8) == pytest.approx(12, rel=0.01)
    assert history.passed_over() == set()
    spare = History(9, needed=False, deadline=12.0)
    assert spare.step([math.inf] + [0.1] * 8) == pytest.approx(0.75, rel=0.02)


def test_a_ps_that_stood_still_does_not_hold_it_against_those_who_wait_for_it():
    history, claims = History(3), Times()
    for _ in range(4):
        history.step([0.1] * 3)
    history.patience.begin(history.now)
    claims.ask([(w, 0) for w in range(3)], history.now)
    for worker in (0, 1):
        claims.answer((worker, 0), history.now + 0.1)
    waits = [Wait(2, history.now, True)]
    assert history.patience.turn(9, history.now + 0.2, waits, claims) == []
    assert history.patience.turn(9, history.now + 3600, waits, claims) == []


def test_after_a_checkpoint_it_decides_as_if_there_had_been_none():
    random, whole, parts = Random(4), History(9), History(9)
    for step in range(30):
        if step == 12:
            state = parts.patience.state()
            parts.patience = Patience(9)
            parts.patience.restore(state)
            assert parts.patience.state() == state
        seconds = [random.choice([0.02, 3.0]) if worker < 2 else 0.02 for worker in range(9)]
        assert parts.step(seconds) == pytest.approx(whole.step(seconds), rel=0.02)
    assert [(e.kind, e.step, e.worker) for e in parts.events] == [(e.kind, e.step, e.worker) for e in whole.events]
