import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.ps.pace import Pace, Times


def learned(seconds):
    pace = Pace()
    for one in seconds:
        pace.learn(one)
    return pace


def step(seconds):
    times = Times()
    times.ask([(worker, 0) for worker in range(len(seconds))], 0.0)
    for worker, one in enumerate(seconds):
        if math.isfinite(one):
            times.answer((worker, 0), one)
    return times


def test_nobody_is_late_until_more_than_half_of_a_step_have_answered():
    pace = learned([0.01] * 100)
    assert pace.usual == pytest.approx(0.025)
    assert pace.late(step([5.0, 5.0, math.inf, math.inf])) == math.inf
    assert pace.late(step([5.0, 5.0, 5.0, math.inf])) == pytest.approx(12.5)
    assert pace.late(step([])) == math.inf


def test_the_last_answers_say_something_when_there_are_a_few():
    pace = learned([0.01] * 7)
    assert pace.usual == math.inf
    assert pace.late(step([0.001] * 3)) == pytest.approx(0.0025)
    pace.learn(0.01)
    assert pace.late(step([0.001] * 3)) == pytest.approx(0.025)


def test_late_is_two_and_a_half_medians_and_eight_deviations():
    pace = learned([1.0, 1.1, 0.9, 1.2, 0.8, 1.0, 1.1, 0.9, 1.0])
    assert pace.usual == pytest.approx(2.5 * 1 + 8 * 0.1)


def test_it_follows_when_all_become_slower_and_a_copy_is_as_it_was():
    pace = learned([0.01] * 512)
    again = Pace()
    again.restore(pace.state())
    assert again.usual == pace.usual
    for _ in range(512):
        pace.learn(5.0)
    assert pace.usual == 12.5


@given(st.lists(st.floats(0, 1e6), max_size=40), st.randoms())
def test_a_minority_cannot_make_the_others_wait_nor_late(slow, random):
    honest = [1 + random.random() for _ in range(len(slow) + 100 + len(slow))]
    pace = learned(random.sample(honest + slow, len(honest + slow)))
    assert 2.5 <= pace.usual <= 2.5 * 2 + 8 * 1
    assert pace.late(step(honest + slow)) == pace.usual


def test_only_the_first_answer_to_a_question_counts():
    times = Times()
    times.ask([(1, 0), (2, 0)], 10.0)
    times.answer((1, 0), 10.5)
    times.answer((1, 0), 19.0)
    times.answer((3, 0), 11.0)
    assert times.late == math.inf
    times.answer((2, 0), 10.5)
    assert times.late == 1.25
    assert times.pop() == [(1, 0.5), (2, 0.5)]
    assert times.pop() == []
