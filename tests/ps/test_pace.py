import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.ps.pace import Pace


def test_until_a_few_have_answered_everybody_has_the_ceiling():
    pace = Pace(0.5, 30)
    pace.heard([0.01] * 7)
    assert pace.patience == 30
    pace.heard([0.01])
    assert pace.patience == 0.5


def test_who_takes_twice_as_long_as_the_others_and_eight_deviations_is_late():
    pace = Pace(0.1, 30)
    pace.heard([1.0, 1.1, 0.9, 1.2, 0.8, 1.0, 1.1, 0.9])
    assert pace.patience == pytest.approx(2 * 1 + 8 * 0.1)


def test_it_follows_when_all_become_slower():
    pace = Pace(0.1, 30)
    pace.heard([0.01] * 512)
    pace.heard([5.0] * 512)
    assert pace.patience == 10


@given(st.lists(st.floats(0, 1e6), max_size=40), st.randoms())
def test_a_minority_cannot_make_the_others_wait(slow, random):
    honest = [1 + random.random() for _ in range(len(slow) + 100 + len(slow))]
    pace = Pace(0.1, 1e9)
    pace.heard(random.sample(honest + slow, len(honest + slow)))
    assert 2 <= pace.patience <= 2 * 2 + 8 * 1
