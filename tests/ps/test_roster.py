"""Who takes part where workers come and go: files, q and f follow, and that is said."""

from types import SimpleNamespace

import pytest

from detox.aggregators import create_hierarchy
from detox.assignment.schemes import SCHEMES
from detox.ps.aggregation import Aggregation
from detox.ps.contradictions import GraphQuarantine
from detox.ps.events import Event, EventKind
from detox.ps.ledger import Ledger
from detox.ps.roster import Roster


@pytest.fixture
def make(tmp_path):
    ledgers = []

    def make(p, q, groups="redrawn", aggregator="median"):
        scheme = SCHEMES[groups](3, 1) if groups != "steiner" else SCHEMES[groups](p, 3, None)
        ledger = Ledger(tmp_path / "ledger.jsonl", range(1, p + 1), {})
        ledgers.append(ledger)
        attendance = SimpleNamespace(missing=set(), away={}, least=1, patience=0.0, told=[])
        attendance.news = lambda step: [attendance.told.pop() for _ in list(attendance.told)]
        roster = Roster(
            p,
            q,
            scheme=scheme,
            aggregation=Aggregation(create_hierarchy(aggregator), scheme, None, 0),
            quarantine=GraphQuarantine(q=q),
            ledger=ledger,
            attendance=attendance,
        )
        return roster, attendance

    yield make
    for ledger in ledgers:
        ledger.close()


def drawn(roster, step):
    return {worker for worker, _ in roster.assignment(step).edges}


def test_groups_and_f_shrink_with_who_is_away_and_grow_when_it_is_back(make):
    roster, attendance = make(15, 2)
    assert roster.follow(1) == []
    attendance.away = {3: "has been away for 30 s", 7: "has been away for 31 s", 9: "has been away for 30 s"}
    assert [(event.kind, event.worker, event.detail) for event in roster.follow(2)] == [
        (EventKind.LEFT_OUT, worker, why) for worker, why in attendance.away.items()
    ]
    assert roster.strength(2) == "12 workers in 4 groups, q = 2 and f = 1"
    assert drawn(roster, 2) == set(range(15)) - {3, 7, 9}
    assert roster.follow(3) == []  # it is said once
    attendance.away = {}
    attendance.told = [Event(EventKind.JOINED, 4, worker, detail="is back") for worker in (9, 7, 3)]
    assert len(roster.follow(4)) == 3
    assert roster.strength(4) == "15 workers in 5 groups, q = 2 and f = 1"
    assert drawn(roster, 4) == set(range(15))


def test_nobody_is_left_out_where_the_votes_of_the_others_are_too_few(make):
    roster, attendance = make(9, 2)  # a median with one bad vote takes three
    attendance.away = {3: "has been away for 30 s"}
    assert roster.follow(1) == []
    assert drawn(roster, 1) == set(range(9))


def test_the_longest_away_are_left_out_as_long_as_the_votes_are_enough(make):
    roster, attendance = make(15, 2)  # with one bad vote a median takes three: nine workers
    order = [11, 3, 8, 0, 5, 14, 1, 7]
    attendance.away = dict.fromkeys(order, "is away")
    assert [event.worker for event in roster.follow(1)] == sorted(order[:6])
    assert drawn(roster, 1) == set(range(15)) - set(order[:6])


def test_who_has_never_come_has_no_file_whatever_that_leaves(make):
    roster, attendance = make(9, 2)
    attendance.missing = {8}
    attendance.told = [Event(EventKind.LEFT_OUT, 1, 8, detail="has not come")]
    assert roster.follow(1) == [Event(EventKind.LEFT_OUT, 1, 8, detail="has not come")]
    assert roster.strength(1) == "8 workers in 2 groups, q = 2 and f = 1"
    assert 8 not in drawn(roster, 1)


def test_who_comes_in_the_middle_of_a_step_has_files_from_the_next_one_on(make):
    roster, attendance = make(9, 0)
    attendance.missing = {8}
    roster.follow(1)
    attendance.missing = set()
    assert drawn(roster, 1) <= set(range(8))
    roster.follow(2)
    assert drawn(roster, 2) == set(range(9))


def test_where_workers_have_several_files_these_are_said(make):
    roster, attendance = make(15, 1, "steiner")
    attendance.away = {3: "has been away for 30 s"}
    roster.follow(1)
    files = len(roster.assignment(1).holders)
    assert roster.strength(1) == f"14 workers with {files} files, q = 1 and f = 0"
