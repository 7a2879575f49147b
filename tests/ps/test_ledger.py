import json

import pytest

from detox.ps.events import Event, EventKind
from detox.ps.ledger import Ledger


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl", ranks=[1, 1, 2], hosts={1: "left", 2: "right"})
    yield ledger
    ledger.close()


def _lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]


def test_agreement_is_counted_and_all_else_is_written_with_rank_and_host(ledger, tmp_path):
    ledger.record(Event(EventKind.AGREED, 3, 0))
    ledger.record(Event(EventKind.DISSENTED, 3, 2))
    ledger.record(Event(EventKind.LIED, 4, 1, detail="why"))
    assert _lines(tmp_path) == [
        {"step": 3, "kind": "dissented", "worker": 2, "rank": 2, "host": "right"},
        {"step": 4, "kind": "lied", "worker": 1, "rank": 1, "host": "left", "detail": "why"},
    ]
    assert [dict(c) for c in ledger.counts] == [{"agreed": 1}, {"lied": 1}, {"dissented": 1}]
    assert ledger.host_of == ["left", "left", "right"]


def test_a_line_says_which_file_it_is_about_and_who_claimed_otherwise(ledger, tmp_path):
    ledger.record(Event(EventKind.DISSENTED, 3, 2, 0, others=(0, 1)))
    ledger.record(Event(EventKind.PROVEN, 4, 2, others=(0, 1)))
    about = {"worker": 2, "rank": 2, "host": "right"}
    assert _lines(tmp_path) == [
        {"step": 3, "kind": "dissented", **about, "file": 0, "others": [0, 1]},
        {"step": 4, "kind": "proven", **about, "others": [0, 1]},
    ]


@pytest.mark.parametrize("steps", [[7], [7, 8], [7, 6, 8, 5]])
def test_a_flood_is_counted_whole_and_written_in_part_even_if_steps_alternate(ledger, tmp_path, steps):
    for turn in range(1000):
        ledger.record(Event(EventKind.MALFORMED, steps[turn % len(steps)], 2))
        ledger.record(Event(EventKind.MALFORMED, steps[turn % len(steps)], None, detail="garbage", rank=1))
    assert ledger.counts[2]["malformed"] == 1000
    assert ledger.unattributed[1] == 1000
    assert len(_lines(tmp_path)) == 2 * Ledger.LINES * len(steps)


def test_dissenters_come_most_first(ledger):
    for worker, times in ((0, 2), (2, 5)):
        for step in range(times):
            ledger.record(Event(EventKind.DISSENTED, step, worker))
    assert list(ledger.dissents().items()) == [(2, 5), (0, 2)]


def test_a_restored_ledger_counts_on(ledger, tmp_path):
    ledger.record(Event(EventKind.DISSENTED, 1, 0))
    other = Ledger(tmp_path / "other.jsonl", [1, 1, 2], {})
    other.restore(ledger.state())
    other.record(Event(EventKind.DISSENTED, 2, 0))
    other.close()
    assert other.dissents() == {0: 2}


def test_what_the_ps_confirms_is_for_the_quarantine_alone(ledger, tmp_path):
    ledger.record(Event(EventKind.CLEARED, 1, 0))
    assert _lines(tmp_path) == []
    assert ledger.counts[0] == {}


@pytest.mark.parametrize("kind", ["withheld", "lied"])
def test_promises_are_broken_by_what_was_claimed_and_not_delivered(ledger, kind):
    ledger.record(Event(EventKind(kind), 1, 0))
    ledger.record(Event(EventKind.DISSENTED, 1, 0))
    assert [ledger.broken_promises(worker) for worker in range(3)] == [1, 0, 0]
