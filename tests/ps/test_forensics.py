"""Dissenters are examined by the server as it is, against workers in the same process."""

import json

import numpy as np
import pytest
from helpers import Line, Workers

from detox.aggregators import create_hierarchy
from detox.assignment import SCHEMES
from detox.ps.aggregation import Aggregation
from detox.ps.audit import Audit
from detox.ps.ballots import VOTES
from detox.ps.ballots.digest import DigestBallot
from detox.ps.ballots.full import FullBallot
from detox.ps.forensics import Forensics
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.offences import OffenceQuarantine
from detox.ps.round import LATE_STEPS
from detox.ps.server import Server
from detox.tasks.samples import Files
from detox.wire import Header, Kind, claim_of
from detox.wire.evidence import PIECE, Evidence, Question

P = 9
RANKS = [1 + worker // 3 for worker in range(P)]
LIES = {0: lambda v: v * np.float32([1, np.nan]), 4: lambda v: v * np.float32([0, 1])}


@pytest.fixture
def make(tmp_path):
    ledgers = []

    def _make(lies=LIES, vote="digest", every=10, audit=0, q=0):
        workers, path = Workers(RANKS, lies=lies), tmp_path / "ledger.jsonl"
        ledgers.append(Ledger(path, RANKS, {1: "one", 2: "two"}))
        model = GlobalModel(Line(), seed=0, steps=40, arguments={"lr": 1.0})
        model.compute_files = workers.compute_files
        scheme = SCHEMES["fixed"](3, 0)
        quarantine = OffenceQuarantine("never", 3, 5, LATE_STEPS)
        server = Server(
            workers.session, RANKS, model, workers.codec, files=Files(3, 4, 1000, 0), scheme=scheme,
            create_ballot=VOTES[vote], aggregation=Aggregation(create_hierarchy("mean"), scheme, 0, 0),
            ledger=ledgers[-1], quarantine=quarantine, q=q, on_tie="drop", deadline=0.3, fetch_deadline=0.05,
            forensics=Forensics(2, [("left", 1), ("right", 1)], every=every, limit=1),
            audit=Audit(audit, 0, quarantine),
        )  # fmt: skip

        def examined():
            lines = map(json.loads, path.read_text().splitlines())
            return [line for line in lines if line["kind"] == "examined"]

        return server, workers, model, examined

    yield _make
    for ledger in ledgers:
        ledger.close()


@pytest.mark.parametrize("vote", ["digest", "full"])
def test_each_dissenter_is_examined_once_in_so_many_steps(make, vote):
    server, workers, _, examined = make(vote=vote)
    list(server.train(1, 25))
    lines = examined()
    steps = {worker: [line["step"] for line in lines if line["worker"] == worker] for worker in range(P)}
    assert {worker for worker, at in steps.items() if at} == LIES.keys()
    for worker in LIES:
        assert len(steps[worker]) == 3
        assert min(np.diff(steps[worker])) >= 10
    nan, zero = (next(line for line in lines if line["worker"] == worker) for worker in LIES)
    assert nan["diagnosis"]["nonfinite"] == nan["diagnosis"]["entries"] == 1
    assert nan["diagnosis"]["tensors"] == [["right", 1]]
    assert zero["diagnosis"]["zeros"] == 1
    assert zero["diagnosis"]["tensors"] == [["left", 1]]
    assert zero["host"] == "two"
    assert "beside the vote" in zero["detail"]
    assert len(workers.examined) == (6 if vote == "digest" else 0)


def test_whoever_is_examined_counts_as_before_and_no_bit_changes(make):
    server, _, model, examined = make()
    plain, _, untouched, _ = make(every=0)
    list(server.train(1, 5))
    list(plain.train(1, 5))
    assert examined()
    assert model.digest == untouched.digest
    assert server.ledger.counts == plain.ledger.counts
    assert not server.outcomes - plain.outcomes


def test_without_a_dissent_and_with_every_0_nobody_is_asked(make):
    for options in ({"lies": {}}, {"every": 0}):
        server, workers, _, examined = make(**options)
        list(server.train(1, 5))
        assert not workers.examined
        assert not examined()


def test_beside_what_the_ps_computed_liars_that_won_the_vote_are_examined(make):
    server, _, _, examined = make({0: lambda v: -v, 1: lambda v: -v}, audit=1, q=1)
    list(server.train(1, 40))
    convicted = [line for line in examined() if "what the PS computed" in line["detail"]]
    assert {line["worker"] for line in convicted} == {0, 1}
    assert all(line["diagnosis"]["bits"][31] == 2 for line in examined())


def test_who_shows_something_else_than_it_claimed_has_lied(make):
    server, workers, _, examined = make({0: LIES[0]})
    workers.shows = lambda evidence: evidence[:-1] + b"x"
    list(server.train(1, 3))
    assert server.ledger.counts[0]["lied"] == 1
    assert not examined()
    assert server.ledger.counts[0]["dissented"] == 3


@pytest.mark.parametrize("shown", [b"", b"x" * 7, bytes(39)])
def test_evidence_that_is_none_is_malformed_and_harms_nobody(make, shown):
    server, workers, model, examined = make({0: LIES[0]})
    plain, _, untouched, _ = make({0: LIES[0]}, every=0)
    workers.shows = lambda evidence: shown
    list(server.train(1, 3))
    list(plain.train(1, 3))
    assert server.ledger.counts[0]["malformed"] == 1
    assert not examined()
    assert model.digest == untouched.digest
    assert sum(counts["malformed"] for counts in server.ledger.counts) == 1


def test_what_is_too_long_or_was_not_asked_for_is_received_into_nothing(make):
    server, workers, _, examined = make({0: LIES[0]})
    workers.shows = lambda evidence: evidence + bytes(1)
    workers.computing = 0.001
    workers.network.later(0.0005, lambda: workers.send(3, Header(Kind.EVIDENCE, 1, 7, 2), bytes(8)))
    list(server.train(1, 3))
    assert not examined()
    assert server.ledger.unattributed == {1: 1, 3: 1}


@pytest.mark.parametrize("audit", [0, 3])
def test_who_sends_what_cannot_be_decoded_keeps_nobody_from_being_examined(make, audit):
    server, _, _, examined = make({0: lambda v: v[:1], 4: LIES[4]}, vote="full", audit=audit)
    list(server.train(1, 12))
    assert server.ledger.counts[0]["malformed"] == 12
    assert [(line["worker"], line["step"]) for line in examined()] == [(4, 1), (4, 11)]


@pytest.mark.parametrize("ballot", [FullBallot, DigestBallot])
def test_no_more_is_examined_than_the_limit_allows_however_it_travels(ballot):
    vote = np.arange(3 * PIECE + 5, dtype=np.float32)
    wrong = vote.copy()
    wrong[[PIECE + 2, PIECE + 9, 3 * PIECE]] *= -1
    ballot = ballot(1, 0, (0, 1, 2), np.empty_like(vote))
    forensics = Forensics(vote.size, [("all", vote.size)], every=1, limit=5 * PIECE)
    for worker, vector in enumerate((wrong, vote, vote)):
        ballot.claim(worker, claim_of(vector))
        if ballot.direct or worker == 2:
            place = ballot.place(worker)
            place[:] = vector
            ballot.deliver(worker, place)
    if ballot.direct:
        event = forensics.compare(ballot, 0, ballot.copy_of(0))
    else:
        answer = Evidence.answer(wrong, Question.unpack(forensics.ask(ballot, 0))).pack()
        assert len(answer) <= forensics.answer_limit
        (event,) = forensics.take(Header(Kind.EVIDENCE, 1, 0, 0), memoryview(answer))
    found = event.diagnosis
    assert (found.examined, found.differing) == (PIECE, PIECE + 5)
    assert (found.entries, found.bits[31], found.stride) == (2, 2, 7)


def test_who_never_answers_stops_no_step_and_makes_room_after_a_while(make):
    lies = {**LIES, 8: lambda v: v + 1}
    server, workers, _, examined = make(lies)
    plain, others, _, _ = make(lies, every=0)
    workers.computing = others.computing = 0.001
    answer = workers.hear
    workers.hear = lambda rank, message: message.header.kind == Kind.EXAMINE or answer(rank, message)
    list(server.train(1, 4))
    list(plain.train(1, 4))
    assert workers.network.now == pytest.approx(others.network.now)
    workers.hear = answer
    list(server.train(5, 20))
    # The first one was asked in step 1, and is done without from step 9 on.
    assert min(line["step"] for line in examined()) == 1 + LATE_STEPS
    assert {line["worker"] for line in examined()} == {0, 4, 8}


def test_an_answer_that_comes_behind_a_checkpoint_is_no_offence(make):
    server, workers, _, examined = make({0: LIES[0]})
    workers.computing = workers.showing = 0.001
    list(server.train(1, 1))
    server.settle_accounts()
    list(server.train(2, 9))
    assert not examined()
    assert [sorted(kind for kind in counts if counts[kind]) for counts in server.ledger.counts] == [
        ["dissented"], *([["agreed"]] * (P - 1))
    ]  # fmt: skip
