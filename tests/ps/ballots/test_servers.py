"""The vote on a file that several servers share: claims as one, deliveries each for itself."""

import numpy as np
import pytest

from detox.ps.ballots import DigestBallot, Verdict
from detox.ps.events import Event, EventKind
from detox.ps.ledger import Ledger
from detox.ps.promises import Promises
from detox.wire import claim_of

PARTS = [np.arange(4, dtype=np.float32) + 10 * server for server in range(3)]
CLAIM = b"".join(map(claim_of, PARTS))
NOBODY = frozenset()


@pytest.fixture
def promises(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl", ranks=[1] * 5, hosts={1: "here"})
    yield Promises(ledger, seconds=10)
    ledger.close()


@pytest.fixture
def ballot():
    ballot = DigestBallot(1, 0, range(5), np.empty(4, np.float32), servers=3)
    for worker in (0, 1, 3):
        assert ballot.claim(worker, CLAIM) == []
    return ballot


def asked(ballot, promises, now=0.0, gone=NOBODY, slow=NOBODY):
    """Whom each server asks now, by server; slow servers do so later."""
    first = ballot.ask(now, promises, gone, NOBODY)
    elsewhere = ballot.ask_elsewhere(now, promises, gone, NOBODY)
    for worker, server in elsewhere:
        if server not in slow:
            ballot.confirmed(server, worker, now)
    return ({} if first is None else {0: first}) | {server: worker for worker, server in elsewhere}


def test_a_claim_has_a_digest_for_each_server_and_is_voted_on_as_one():
    ballot = DigestBallot(1, 0, range(3), np.empty(4, np.float32), servers=3)
    (event,) = ballot.claim(0, CLAIM[:32])
    assert event.kind == EventKind.MALFORMED
    ballot.claim(0, CLAIM)
    ballot.claim(1, CLAIM[:-1] + b"x")
    assert ballot.tally.majority is None
    ballot.claim(2, CLAIM)
    assert ballot.tally.majority == CLAIM
    assert [ballot.claimed(server) for server in range(3)] == list(map(claim_of, PARTS))


def test_each_server_asks_another_of_the_majority(ballot, promises):
    assert asked(ballot, promises) == {0: 0, 1: 1, 2: 3}
    assert asked(ballot, promises) == {}


def test_there_is_a_vote_once_all_shares_are_here(ballot, promises):
    asked(ballot, promises)
    assert ballot.deliver(0, PARTS[0]) == ballot.delivered(2, 3, Verdict.RIGHT) == []
    assert not ballot.settled
    assert not ballot.finished(NOBODY)
    assert ballot.delivered(1, 1, Verdict.RIGHT) == []
    assert ballot.settled
    assert ballot.end({0}) == []


def test_a_wrong_share_is_asked_for_again_alone(ballot, promises):
    asked(ballot, promises)
    ballot.deliver(0, PARTS[0])
    assert ballot.delivered(2, 3, Verdict.LIED) == [
        Event(EventKind.LIED, 1, 3, 0, "its gradient is not the one that it claimed")
    ]
    assert asked(ballot, promises) == {2: 0}
    assert ballot.delivered(2, 0, Verdict.GARBLED, "no blosc") == [Event(EventKind.MALFORMED, 1, 0, 0, "no blosc")]
    assert asked(ballot, promises) == {2: 1}
    ballot.delivered(1, 1, Verdict.RIGHT)
    ballot.delivered(2, 1, Verdict.RIGHT)
    assert ballot.settled
    assert [(event.kind, event.worker) for event in ballot.end({0})] == [(EventKind.WITHHELD, 0)]


def test_a_late_share_is_asked_for_of_another_and_who_is_late_has_withheld_it(ballot, promises):
    asked(ballot, promises)
    ballot.deliver(0, PARTS[0])
    ballot.delivered(1, 1, Verdict.RIGHT)
    assert asked(ballot, promises, now=9) == {}
    assert asked(ballot, promises, now=11) == {2: 0}
    ballot.delivered(2, 0, Verdict.RIGHT)
    assert ballot.settled
    assert [(event.kind, event.worker) for event in ballot.end({0})] == [(EventKind.WITHHELD, 3)]


def test_a_worker_has_time_from_when_its_server_has_asked_it(ballot, promises):
    assert asked(ballot, promises, slow={2}) == {0: 0, 1: 1, 2: 3}
    ballot.deliver(0, PARTS[0])
    ballot.delivered(1, 1, Verdict.RIGHT)
    assert asked(ballot, promises, now=99) == {}
    ballot.confirmed(2, 3, 99)
    assert ballot.since(2, 3) == 99
    assert asked(ballot, promises, now=108) == {}
    assert asked(ballot, promises, now=110) == {2: 0}


def test_whom_its_server_did_not_ask_has_withheld_nothing_and_keeps_no_step_waiting(ballot, promises):
    asked(ballot, promises, slow={2})
    ballot.deliver(0, PARTS[0])
    ballot.delivered(1, 1, Verdict.RIGHT)
    for worker in (0, 1):
        ballot.delivered(2, worker, Verdict.LIED)
    assert ballot.owing(NOBODY) == {}
    assert not ballot.settled
    assert ballot.end({0}) == []


def test_who_delivers_after_another_has_withheld_nothing(ballot, promises):
    asked(ballot, promises)
    ballot.deliver(0, PARTS[0])
    ballot.delivered(1, 1, Verdict.RIGHT)
    assert asked(ballot, promises, now=11) == {2: 0}
    ballot.delivered(2, 0, Verdict.RIGHT)
    assert ballot.delivered(2, 3, Verdict.UNREAD) == []
    assert ballot.end({0}) == []


def test_who_delivers_slowly_is_asked_by_no_server_while_others_can_be(ballot, promises):
    for worker, seconds in ((0, 0.21), (1, 9.5), (3, 0.23)):
        promises.delivered(worker, seconds)
    assert asked(ballot, promises) == {0: 0, 1: 3, 2: 0}


def test_a_share_that_nobody_delivers_is_the_end_of_the_vote(ballot, promises):
    ballot.claim(2, b"?" * 96)
    ballot.claim(4, b"!" * 96)
    for _ in range(3):
        for server, worker in asked(ballot, promises).items():
            ballot.delivered(server, worker, Verdict.LIED if server == 1 else Verdict.RIGHT)
    assert asked(ballot, promises) == {}
    assert ballot.failed
    assert not ballot.settled


def test_a_share_that_is_not_finite_names_all_that_claimed_it(ballot, promises):
    asked(ballot, promises)
    events = ballot.delivered(1, 1, Verdict.NONFINITE)
    assert [(event.kind, event.worker) for event in events] == [(EventKind.NONFINITE, w) for w in (0, 1, 3)]
    assert ballot.failed
    assert ballot.place(1) is None
