import math

import pytest

from detox.ps.events import Event, EventKind
from detox.ps.ledger import Ledger
from detox.ps.promises import FETCH_DEADLINE, Promises


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl", [1, 2, 3], {})
    yield ledger
    ledger.close()


def promises_of(ledger, seconds="auto", delivering=0.01):
    promises = Promises(ledger, seconds)
    for _ in range(20):
        promises.delivered(0, delivering)
    times = promises.begin()
    times.ask([(2, 0)], 0.0)
    times.answer((2, 0), delivering)
    return promises


def breaks(ledger, kind=EventKind.WITHHELD, times=1):
    for step in range(times):
        ledger.record(Event(kind, step, 1))


def test_a_delivery_in_time_makes_up_for_a_broken_promise_and_not_for_a_lie(ledger):
    promises = promises_of(ledger)
    breaks(ledger, times=3)
    breaks(ledger, EventKind.LIED)
    promises.delivered(1, 1.5)
    assert promises.broken(1) == 4
    for left in (3, 2, 1, 1):
        promises.delivered(1, 0.01)
        assert promises.broken(1) == left
    breaks(ledger)
    assert promises.broken(1) == 2  # what was delivered before it is no excuse
    assert ledger.broken_promises(1) == 5


def test_what_was_made_up_for_is_in_the_checkpoint(ledger):
    promises, again = promises_of(ledger), Promises(ledger, "auto")
    breaks(ledger, times=3)
    promises.delivered(1, 0.01)
    again.restore(promises.state())
    assert again.broken(1) == promises.broken(1) == 2


@pytest.mark.parametrize("delivering", [0.01, 10.0])
def test_the_last_chance_of_whoever_has_broken_many_is_what_is_late_and_some_seconds(ledger, delivering):
    promises = promises_of(ledger, delivering=delivering)
    breaks(ledger, times=40)
    late = 2.5 * delivering
    assert promises.last_chance(1) == pytest.approx(late + 5)
    assert promises.patience(1) == pytest.approx(late, abs=0.001)
    assert promises.overdue == pytest.approx(late + 0.5)


def test_the_last_chance_is_not_halved_while_nobody_knows_what_is_late(ledger):
    promises = Promises(ledger, "auto")
    promises.begin().ask([(1, 0)], 0.0)
    breaks(ledger, times=4)
    assert promises.last_chance(1) == FETCH_DEADLINE
    assert promises.overdue == math.inf
    assert Promises(ledger, 8.0).last_chance(1) == 0.5
