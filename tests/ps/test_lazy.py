"""Lazy copies: further holders of a file are asked only where the first do not agree, or do not answer."""

from collections import Counter

import numpy as np
import pytest
from helpers import Line, Workers

from detox.aggregators import create_hierarchy
from detox.assignment import SCHEMES
from detox.ps.aggregation import Aggregation
from detox.ps.ballots import VOTES, Outcome
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.offences import OffenceQuarantine
from detox.ps.round import LATE_STEPS
from detox.ps.server import Server
from detox.tasks.samples import Files
from detox.wire import Header, Kind

P = 8
RANKS = [1 + worker // 2 for worker in range(P)]
UPDATE = np.array([2.5, -1])  # the mean of the honest gradients of files 0 to 3


class Batching(GlobalModel):
    """Says how many files it computes in a call."""

    files_at_once = 1

    def __init__(self, files_at_once, *args, **options):
        super().__init__(*args, **options)
        self.files_at_once = files_at_once


@pytest.fixture
def make(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl", RANKS, {})

    def _make(lies=None, r=3, vote="digest", deadline=60.0, on_tie="drop", at_once=1):
        """File j is asked of workers 2j and 2j + 1 first, then of 2j + 2, where r is 3."""
        workers, scheme = Workers(RANKS, lies=lies), SCHEMES["fixed"](r, lazy=True)
        model = Batching(at_once, Line(), seed=0, steps=10, arguments={"lr": 1.0})
        model.compute_files = workers.compute_files
        server = Server(
            workers.session, RANKS, model, workers.codec, files=Files(P // ((r + 1) // 2), 4, 1000, 0), scheme=scheme,
            create_ballot=VOTES[vote], aggregation=Aggregation(create_hierarchy("mean"), scheme, 0, 0), ledger=ledger,
            quarantine=OffenceQuarantine("never", 3, 5, LATE_STEPS), q=0, on_tie=on_tie, deadline=deadline,
            fetch_deadline=0.05,
        )  # fmt: skip
        return server, workers, model

    yield _make
    ledger.close()


def asked(workers, step=1):
    return sorted((header.file, header.worker) for header, _ in workers.work if header.step == step)


@pytest.mark.parametrize("vote", ["digest", "full"])
def test_where_all_agree_each_worker_computes_one_file(make, vote):
    server, workers, model = make(vote=vote)
    before = model.weights.copy()
    list(server.train(1, 2))
    assert np.allclose(model.weights, before - 2 * UPDATE)
    assert asked(workers) == [(worker // 2, worker) for worker in range(P)]
    assert server.outcomes == {Outcome.UNANIMOUS: 8}
    assert [dict(counts) for counts in server.ledger.counts] == [{"agreed": 2}] * P


@pytest.mark.parametrize("vote", ["digest", "full"])
def test_where_two_disagree_a_third_decides(make, vote):
    server, workers, model = make({2: lambda v: -v}, vote=vote)
    before = model.weights.copy()
    (record,) = server.train(1, 1)
    assert np.allclose(model.weights, before - UPDATE)
    assert (1, 4) in asked(workers)
    assert len(asked(workers)) == P + 1
    assert record.copies == 2.25
    assert server.ledger.dissents() == {2: 1}
    assert server.outcomes == {Outcome.UNANIMOUS: 3, Outcome.MAJORITY: 1}


def test_a_third_that_lies_too_leaves_no_majority_or_makes_a_bad_one(make):
    server, workers, _ = make({2: lambda v: -v, 4: lambda v: 2 * v})
    list(server.train(1, 1))
    assert {(1, 4), (2, 6)} <= set(asked(workers))
    assert server.outcomes == {Outcome.UNANIMOUS: 2, Outcome.MAJORITY: 1, Outcome.NONE: 1}
    assert server.ledger.dissents() == {4: 1}


def test_five_holders_are_asked_one_after_the_other_until_three_agree(make):
    server, workers, _ = make({0: lambda v: -v, 3: lambda v: 3 * v}, r=5)  # the last file has the five that remain
    list(server.train(1, 1))
    assert Counter(file for file, _ in asked(workers)) == {0: 5, 1: 5}
    assert [worker for file, worker in asked(workers) if file == 0] == [0, 1, 2, 3, 4]
    assert server.outcomes == {Outcome.MAJORITY: 2}


def test_one_that_is_silent_is_replaced_at_its_time_and_not_waited_for_again(make):
    server, workers, _ = make()
    workers.computing = 0.01
    list(server.train(1, 4))
    workers.lies[5] = lambda v: None
    late, *others = server.train(5, 9)
    assert 0.5 < late.seconds["wait"] < 0.6  # nobody is late within half a second
    assert all(record.seconds["wait"] < 0.05 for record in others)
    assert all((2, 6) in asked(workers, step) for step in range(5, 10))
    assert server.ledger.counts[5]["silent"] == 5
    assert not any(record.skipped for record in (late, *others))


def test_one_that_is_back_is_waited_for_again(make):
    server, workers, _ = make()
    workers.computing = 0.01
    list(server.train(1, 4))
    workers.lies[5] = lambda v: None
    list(server.train(5, 6))
    del workers.lies[5]
    list(server.train(7, 9))
    assert (2, 6) in asked(workers, 7)
    assert (2, 6) not in asked(workers, 9)


def test_where_the_first_two_agree_and_do_not_deliver_a_third_is_asked(make):
    server, workers, model = make()
    workers.withholding = {2, 3}
    before = model.weights.copy()
    (record,) = server.train(1, 1)
    assert np.allclose(model.weights, before - UPDATE)
    assert (1, 4) in asked(workers)
    assert record.seconds["wait"] < 1
    assert [server.ledger.counts[worker]["withheld"] for worker in (2, 3, 4)] == [1, 1, 0]


def test_the_dead_are_replaced_at_once(make):
    server, workers, _ = make()
    workers.network.kill(2)  # workers 2 and 3: no majority of file 1 is left, but of file 0 nobody is asked more
    (record,) = server.train(1, 1)
    assert record.seconds["wait"] == 0
    assert (1, 4) in asked(workers)
    workers, others = asked(workers), [(0, 2)]
    assert not set(others) & set(workers)


def test_a_claim_of_a_holder_that_was_not_asked_counts_for_nothing(make):
    server, workers, _ = make({4: lambda v: None})
    spoken = []

    def hear(rank, message):
        Workers.hear(workers, rank, message)
        if not spoken:
            spoken.append(workers.send(3, Header(Kind.CLAIM, 1, 4, 1), bytes(32)))

    workers.hear = hear
    list(server.train(1, 1))
    assert server.ledger.counts[4]["malformed"] == 1
    assert "dissented" not in server.ledger.counts[4]


def test_without_a_vote_of_all_holders_the_ps_computes_the_file_where_it_may(make):
    server, _, model = make({2: lambda v: -v, 4: lambda v: 2 * v}, on_tie="recompute")
    before = model.weights.copy()
    list(server.train(1, 1))
    assert np.allclose(model.weights, before - UPDATE)
    assert server.ledger.counts[2]["convicted"] == 1


def test_files_without_a_vote_are_computed_in_one_call_where_the_model_does_so(make):
    lies = {2: lambda v: -v, 4: lambda v: 2 * v, 6: lambda v: 3 * v}
    calls = {}
    for at_once in (1, 16):
        server, _, model = make(lies, on_tie="recompute", at_once=at_once)
        before, calls[at_once] = model.weights.copy(), []
        compute = model.compute_files
        model.compute_files = lambda files, compute=compute, to=calls[at_once]: to.append(len(files)) or compute(files)
        list(server.train(1, 1))
        assert np.allclose(model.weights, before - UPDATE)
    assert calls == {1: [1, 1], 16: [2]}


def test_claims_that_are_none_do_not_say_how_long_claims_take(make):
    server, workers, _ = make()
    workers.computing = 1.0

    def hear(rank, message):
        if message.header.kind == Kind.WORK and message.header.worker == 5:
            for _ in range(600):
                workers.send(3, Header(Kind.CLAIM, message.header.step, 5, message.header.file), b"?")
        Workers.hear(workers, rank, message)

    workers.hear = hear
    records = list(server.train(1, 4))
    assert [record.copies for record in records] == [2.0] * 4
    assert server.ledger.counts[5]["malformed"] == 2400


def test_one_slow_step_of_a_worker_does_not_make_the_others_late(make):
    server, workers, _ = make()
    workers.computing = 2.0
    list(server.train(1, 4))
    workers.computing = 3.9  # all of them, as after one that had an old file to finish first
    records = list(server.train(5, 6))
    assert [record.copies for record in records] == [2.0, 2.0]


def test_a_copy_that_is_not_needed_is_not_waited_for(make):
    server, _, _ = make({7: lambda v: None}, r=5, vote="full")  # the last file is asked of five at once
    (record,) = server.train(1, 1)
    assert record.seconds["wait"] == 0
    assert not record.skipped


def test_who_was_sent_nothing_is_not_waited_for(make):
    server, workers, _ = make()
    sending = workers.session.sending
    workers.session.sending = lambda rank: int(rank == 2) or sending(rank)
    (record,) = server.train(1, 1)
    assert record.seconds["wait"] == 0
    assert (1, 4) in asked(workers)
    assert all(worker not in (2, 3) for _, worker in asked(workers))


def test_a_slow_host_is_asked_for_less_but_its_votes_are_not_lost(make):
    server, workers, _ = make()
    workers.computing = 0.3
    list(server.train(1, 4))
    workers.slow = dict.fromkeys((6, 7), 1.0)
    records = list(server.train(5, 20))
    assert not any(record.skipped for record in records)
    assert server.outcomes["none"] == 0
