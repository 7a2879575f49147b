"""The server against workers in the same process: messages are real, MPI is not, and the clock is the test's."""

import copy
import json
from functools import partial

import numpy as np
import pytest
from helpers import Line, Workers

from detox.aggregators import create_hierarchy
from detox.assignment import SCHEMES
from detox.ps.aggregation import Aggregation
from detox.ps.ballots import VOTES
from detox.ps.events import Trait, kinds
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.offences import OffenceQuarantine
from detox.ps.round import LATE_STEPS
from detox.ps.server import Server
from detox.ps.step import ServerError
from detox.tasks import TaskError
from detox.tasks.samples import Files
from detox.wire import Header, Kind, digest_of
from detox.worker.placement import Placement

P = 9
RANKS = [1 + worker // 3 for worker in range(P)]


def serve(
    workers, ledger, *, groups="fixed", r=3, hierarchy, f=0, vote="digest", quarantine, seed=0, size=4, **settings
):
    """A server, and its model, of these workers."""
    model = GlobalModel(Line(), seed=0, steps=10, arguments={"lr": 1.0})
    model.compute_files = workers.compute_files
    scheme = SCHEMES[groups](r, seed)
    settings = {"q": 0, "on_tie": "drop", "deadline": 0.3, "fetch_deadline": 0.05} | settings
    server = Server(
        workers.session, workers.ranks, model, workers.codec, files=Files(len(workers.ranks) // r, size, 1000, 0),
        scheme=scheme, create_ballot=VOTES[vote], aggregation=Aggregation(hierarchy, scheme, f, seed), ledger=ledger,
        quarantine=quarantine, **settings,
    )  # fmt: skip
    return server, model


def bad_votes(server, votes):
    return server.aggregation.bad_votes(votes, server.roster.q)


@pytest.fixture
def make(tmp_path):
    ledgers = []

    def _make(lies=None, aggregator="mean", policy="never", minimum=0, options=None, **settings):
        workers = Workers(RANKS, lies=lies)
        ledgers.append(Ledger(tmp_path / f"ledger{len(ledgers)}.jsonl", RANKS, {}))
        quarantine = OffenceQuarantine(policy, 3, 5, LATE_STEPS, minimum)
        hierarchy = create_hierarchy(aggregator, options=options or {})
        server, model = serve(workers, ledgers[-1], hierarchy=hierarchy, quarantine=quarantine, **settings)
        return server, workers, model

    yield _make
    for ledger in ledgers:
        ledger.close()


@pytest.mark.parametrize("vote", ["digest", "full"])
def test_a_step_is_the_optimizers_along_the_mean_of_the_votes(make, vote):
    server, workers, model = make(vote=vote)
    workers.computing = 0.01
    before = model.weights.copy()
    (record,) = server.train(1, 1)
    assert not record.skipped
    assert np.allclose(model.weights, before - [2, -1])
    assert server.outcomes == {"unanimous": 3}
    assert len(workers.work) == P
    received = 9 * (32 + 8) if vote == "full" else 9 * (32 + 32) + 3 * (32 + 8)
    assert record.bytes_in == received
    assert sum(record.seconds.values()) == pytest.approx(workers.network.now)
    assert record.seconds["wait"] == pytest.approx(0.01, rel=0.2)


def test_all_workers_of_a_group_get_the_same_file_and_seed_and_only_they(make):
    server, workers, model = make()
    weights = model.weights.copy()
    list(server.train(1, 1))
    by_file = {}
    for header, work in workers.work:
        by_file.setdefault(header.file, []).append(work)
        assert work.weights_digest == digest_of(weights)
    assert {len(work) for work in by_file.values()} == {3}
    for work in by_file.values():
        assert len({(w.seed, tuple(w.indices)) for w in work}) == 1
    assert len({i for work in by_file.values() for i in work[0].indices}) == 12


@pytest.mark.parametrize("vote", ["digest", "full"])
def test_byzantine_workers_are_outvoted_and_named(make, vote):
    byzantine = {0: lambda v: -100 * v, 4: lambda v: v + 1, 8: lambda v: v * np.nan}
    server, _, model = make(byzantine, vote=vote)
    before = model.weights.copy()
    list(server.train(1, 3))
    assert np.allclose(model.weights, before - 3 * np.array([2, -1]))
    assert server.ledger.dissents() == {0: 3, 4: 3, 8: 3}
    assert server.outcomes == {"majority": 9}


def test_silent_workers_are_outwaited_where_a_majority_speaks(make):
    server, _, model = make({0: lambda v: None, 5: lambda v: None})
    before = model.weights.copy()
    (record,) = server.train(1, 1)
    assert not record.skipped
    assert record.seconds["wait"] == 0
    assert np.allclose(model.weights, before - [2, -1])
    assert [c["silent"] for c in server.ledger.counts] == [1, 0, 0, 0, 0, 1, 0, 0, 0]


def test_a_group_without_a_majority_ends_at_the_deadline_and_is_dropped(make):
    server, _, model = make({0: lambda v: None, 1: lambda v: None})
    before = model.weights.copy()
    (record,) = server.train(1, 1)
    assert 0.3 < record.seconds["wait"] < 0.32
    assert np.allclose(model.weights, before - [2.5, -1])
    assert server.outcomes == {"unanimous": 2, "none": 1}


class OneServerMore:
    """Stands for a further server that says which ranks have not taken what it sent them."""

    def __init__(self, *behind):
        self._behind = list(behind)

    def ask_behind(self):
        return self._behind.pop(0)

    def digest(self, own):
        return own

    def fetch(self, step, asked):
        assert not list(asked)

    def confirmed(self, step):
        return []

    reports = confirmed


def test_who_is_behind_at_a_further_server_gets_nothing_in_this_step_of_any(make):
    server, workers, model = make()
    model.servers = OneServerMore({2}, set())
    list(server.train(1, 2))
    ranks = {step: {RANKS[header.worker] for header, _ in workers.work if header.step == step} for step in (1, 2)}
    assert ranks == {1: {1, 3}, 2: {1, 2, 3}}


def test_the_dead_are_not_waited_for_at_all(make):
    server, workers, _ = make({w: lambda v: None for w in (0, 1, 2)}, deadline=30)
    workers.network.kill(1)
    (record, after) = server.train(1, 2)
    assert record.seconds["wait"] == 0
    assert record.warnings == ("rank 1 on its host is lost, with workers 0, 1, 2",)
    assert not after.warnings


def test_without_any_rank_left_training_ends_with_an_error(make):
    server, workers, _ = make()
    list(server.train(1, 2))
    for rank in (1, 2, 3):
        workers.network.kill(rank)
    with pytest.raises(ServerError, match="before step 3"):
        list(server.train(3, 9))


def test_a_worker_that_has_fallen_silent_is_not_waited_for_at_a_checkpoint(make):
    server, workers, _ = make({0: lambda v: None}, deadline=60)
    list(server.train(1, 3))
    assert workers.network.now == 0


def test_a_step_with_too_few_votes_is_not_applied_and_says_so(make):
    silent = {w: lambda v: None for w in (0, 1)}
    server, _, model = make(silent, aggregator="median", f=1)
    before = model.weights.copy()
    (record,) = server.train(1, 1)
    assert "2 of 3 groups have a vote" in record.skipped
    assert np.array_equal(model.weights, before)


def test_nothing_heard_is_no_update(make):
    server, _, model = make({w: lambda v: None for w in range(P)})
    before = model.weights.copy()
    (record,) = server.train(1, 1)
    assert record.skipped == "0 of 3 groups have a vote: there is nothing to aggregate"
    assert np.array_equal(model.weights, before)


def test_vanilla_takes_each_gradient_as_a_vote(make):
    server, _, model = make({0: lambda v: v * 1000}, aggregator="median", f=1, vote="full", r=1)
    before = model.weights.copy()
    list(server.train(1, 1))
    assert np.allclose(model.weights, before - [6, -1])


LIE = digest_of(np.array([6, 6], np.float32))


@pytest.mark.parametrize(
    ("header", "payload", "worker", "kind"),
    [
        (None, b"garbage", None, "malformed"),
        (Header(Kind.CLAIM, 1, 8, 2), LIE, None, "malformed"),  # in another's name
        (Header(Kind.CLAIM, 1, 77, 0), LIE, None, "malformed"),  # in nobody's name
        (Header(Kind.WORK, 1, 0, 0), b"", None, "malformed"),
        (Header(Kind.CLAIM, 2, 0, 0), LIE, 0, "malformed"),  # from the future
        (Header(Kind.CLAIM, 1, 0, 1), LIE, 0, "malformed"),  # for another's file
        (Header(Kind.GRADIENT, 1, 0, 0), bytes(8), None, "malformed"),  # not asked for
        (Header(Kind.CLAIM, 1, 0, 0), LIE[1:], 0, "malformed"),
        (Header(Kind.CLAIM, 0, 0, 0), LIE, 0, "late"),
    ],
)
def test_messages_out_of_place_are_noted_and_change_nothing(make, header, payload, worker, kind):
    server, workers, model = make()
    before = model.weights.copy()
    if header is None:
        workers.send_frame(1, int(Kind.CLAIM), payload)
    else:
        workers.send(1, header, payload)
    (record,) = server.train(1, 1)
    assert not record.skipped
    assert np.allclose(model.weights, before - [2, -1])
    if worker is None:
        assert server.ledger.unattributed == {1: 1}
    else:
        assert server.ledger.counts[worker][kind] == 1
    assert sum(counts[k] for counts in server.ledger.counts for k in ("malformed", "late")) == (worker is not None)


def test_redrawn_groups_change_from_step_to_step(make):
    server, workers, _ = make(groups="redrawn")
    list(server.train(1, 4))
    groups = {}
    for header, _work in workers.work:
        groups.setdefault(header.step, {}).setdefault(header.file, set()).add(header.worker)
    drawn = [tuple(sorted(map(tuple, map(sorted, files.values())))) for files in groups.values()]
    assert len(set(drawn)) == 4


def test_who_misses_a_deadline_costs_one_deadline_and_not_one_a_step(make):
    silent = {w: lambda v: None for w in (0, 1)}
    server, _, _ = make(silent, deadline=0.5)
    records = list(server.train(1, 6))
    assert [round(record.seconds["wait"], 1) for record in records] == [0.5, 0, 0, 0, 0, 0]
    assert not any(record.skipped for record in records)


def test_the_absent_are_waited_for_where_too_few_votes_come_without_them(make):
    silent = {w: lambda v: None for w in (0, 1)}
    server, _, _ = make(silent, aggregator="median", f=1, deadline=0.2)
    records = list(server.train(1, 3))
    assert all(record.skipped for record in records)
    assert all(record.seconds["wait"] > 0.2 for record in records)


def test_who_answers_again_is_waited_for_again(make):
    gone = [True]
    server, _, model = make({w: lambda v: None if gone[0] else v for w in (0, 1)}, deadline=0.2)
    list(server.train(1, 2))
    gone[0] = False
    list(server.train(3, 4))
    before = model.weights.copy()
    list(server.train(5, 5))
    assert np.allclose(model.weights, before - [2, -1])


def test_where_all_ranks_say_that_they_die_of_the_task_that_is_the_error(make):
    for silent, error in ((set(), TaskError), ({2}, ServerError)):
        server, workers, _ = make(deadline=30)
        steps = server.train(1, 9)
        next(steps)
        for rank in {1, 2, 3} - silent:
            workers.send(rank, Header(Kind.BYE), b"the loss failed\x1b, in own.py:3")
        network = workers.network
        workers.hear = lambda rank, _, network=network: network.later(0.01, partial(network.kill, rank))
        with pytest.raises(error, match="all ranks with workers are lost, before step 3") as raised:
            list(steps)
        assert ("rank 1: the loss failed?, in own.py:3" in str(raised.value)) is (not silent)
        assert not any(counts["malformed"] for counts in server.ledger.counts)


def test_the_dead_are_written_down_once(make):
    server, workers, _ = make()
    workers.network.kill(2)
    list(server.train(1, 5))
    assert [counts["dead"] for counts in server.ledger.counts] == [0, 0, 0, 1, 1, 1, 0, 0, 0]


TIE = {0: lambda v: v + 1, 1: lambda v: v + 2}


@pytest.mark.parametrize("vote", ["digest", "full"])
def test_a_tie_is_settled_by_the_ps_itself_which_convicts(make, vote):
    server, workers, model = make(TIE, vote=vote, on_tie="recompute")
    before = model.weights.copy()
    list(server.train(1, 2))
    assert np.allclose(model.weights, before - 2 * np.array([2, -1]))
    assert [header.file for header in workers.computed] == [0, 0]
    assert [counts["convicted"] for counts in server.ledger.counts] == [2, 2, 0, 0, 0, 0, 0, 0, 0]
    assert server.ledger.counts[2]["agreed"] == 2
    assert server.outcomes == {"unanimous": 4, "recomputed": 2}


def test_a_majority_of_nan_is_settled_by_the_ps_too(make):
    server, _, model = make(dict.fromkeys((0, 1), lambda v: v * np.nan), on_tie="recompute")
    before = model.weights.copy()
    list(server.train(1, 1))
    assert np.allclose(model.weights, before - [2, -1])
    assert [counts["convicted"] for counts in server.ledger.counts][:3] == [1, 1, 0]


def test_the_quarantined_get_no_work_and_q_f_and_groups_follow(make):
    server, workers, model = make({4: lambda v: -v}, policy="recompute", q=2, f=None)
    assert bad_votes(server, 3) == 1
    list(server.train(1, 40))
    assert list(server.quarantine.out) == [4]
    assert bad_votes(server, 2) == 0
    last = [header for header, _ in workers.work if header.step == 40]
    assert len(last) == 6
    assert 4 not in {header.worker for header in last}
    assert server.ledger.counts[4]["quarantined"] == 1
    before = model.weights.copy()
    list(server.train(41, 41))
    assert np.allclose(model.weights, before - [1.5, -1])


@pytest.mark.parametrize(("policy", "f"), [("majority", 1), ("recompute", 0)])
def test_dissents_alone_do_not_lower_q_for_they_may_be_the_honests(make, policy, f):
    server, _, _ = make(policy=policy, q=2, f=None)
    server.quarantine.leave_out(4, 9)
    assert bad_votes(server, 2) == f


def test_quarantine_leaves_as_many_as_the_aggregation_needs(make):
    server, _, _ = make({4: lambda v: -v, 8: lambda v: -v}, policy="majority", minimum=8)
    list(server.train(1, 30))
    assert list(server.quarantine.out) == [4]
    assert server.ledger.counts[8]["spared"] == 1


def test_recomputation_convicts_the_majority_that_lies_and_clears_the_honest(make):
    # Workers 0 and 1 hold the majority of their group with equal lies: worker 2 dissents, and is right.
    server, workers, model = make(dict.fromkeys((0, 1), lambda v: -v), policy="recompute")
    list(server.train(1, 60))
    assert sorted(server.quarantine.out) == [0, 1]
    assert server.ledger.counts[2]["convicted"] == 0
    assert server.ledger.counts[2]["dissented"] > 3
    assert 0 < len(workers.computed) < 60
    before = model.weights.copy()
    list(server.train(61, 61))
    assert np.allclose(model.weights, before - [1.5, -1])


def _told_to_stop_in(server, workers, step):
    """Trains, is told to stop in the middle of a step, and returns the state after those that were made."""
    hear = workers.hear

    def _hear(rank, message):
        if message.header.step == step:
            server.stop()
        hear(rank, message)

    workers.hear = _hear
    made = [record.step for record in server.train(1, 60)]
    assert made == list(range(1, step))
    return copy.deepcopy(server.state())


@pytest.mark.parametrize("policy", ["majority", "recompute"])
@pytest.mark.parametrize("stop", [1, 2, 9, 12, 13, 14, 15, 24, 25, 33])
def test_stopped_in_any_step_and_resumed_it_is_as_if_it_had_never_been_stopped(make, policy, stop):
    lies = {0: lambda v: -v, 1: lambda v: -v, 4: lambda v: -2 * v}
    server, _, model = make(lies, policy=policy)
    list(server.train(1, 60))
    stopped, workers, _ = make(lies, policy=policy)
    state = _told_to_stop_in(stopped, workers, stop)
    resumed, _, again = make(lies, policy=policy)
    resumed.restore(state)
    list(resumed.train(stop, 60))
    assert np.array_equal(again.weights, model.weights)
    assert resumed.quarantine.out == server.quarantine.out != {}
    assert resumed.ledger.counts == server.ledger.counts


def test_claims_of_a_step_that_was_given_up_are_held_against_nobody(make):
    # Worker 0 never answers, so accounts are settled for a while, in which the claims of step 2 come.
    server, workers, _ = make({0: lambda v: None})
    workers.computing = 0.1
    steps = server.train(1, 3)
    next(steps)
    workers.network.later(0.05, server.stop)
    assert list(steps) == []
    assert workers.network.now > 0.3
    assert all(counts["malformed"] == 0 for counts in server.ledger.counts)


def test_told_to_stop_between_two_steps_it_makes_no_other(make):
    server, workers, _ = make()
    server.stop()
    assert list(server.train(1, 3)) == []
    assert workers.work == []


def test_who_withholds_again_and_again_costs_one_deadline_and_then_ever_less(make):
    server, workers, _ = make({0: lambda v: -v, 1: lambda v: -v}, deadline=1, fetch_deadline=0.2)
    workers.withholding = {0, 1}
    waits = [record.seconds["wait"] for record in server.train(1, 8)]
    assert waits[0] > 0.9
    assert max(waits[1:]) < 0.5
    assert waits[7] < 0.1
    assert [counts["withheld"] for counts in server.ledger.counts[:3]] == [8, 8, 0]


def test_where_the_link_is_slower_than_the_fetch_deadline_the_votes_still_come(make):
    server, workers, _ = make(deadline=10)  # and a fetch_deadline of 0.05
    workers.delays = dict.fromkeys(range(P), 0.1)
    records = list(server.train(1, 3))
    assert not any(record.skipped for record in records)
    assert server.outcomes == {"unanimous": 9}


def test_who_claims_first_and_delivers_late_is_asked_last_from_then_on(make):
    server, workers, _ = make(deadline=10, fetch_deadline=1)
    workers.delays = {0: 0.95, **dict.fromkeys(range(1, P), 0.01)}
    waits = [round(record.seconds["wait"], 2) for record in server.train(1, 6)]
    assert waits[0] > 0.9
    assert max(waits[1:]) < 0.1
    assert all(counts["withheld"] == 0 for counts in server.ledger.counts)


def test_an_option_that_fewer_votes_do_not_bear_costs_steps_and_not_the_run(make):
    options = {"multi_krum": {"m": 8}}
    silent = {0: lambda v: None}
    server, _, _ = make(silent, "multi_krum", options=options, vote="full", r=1, f=1, deadline=0.1)
    assert all("8 of 9 groups have a vote" in record.skipped for record in server.train(1, 3))


def test_a_silent_worker_that_is_not_needed_costs_a_moment_at_one_checkpoint_alone(make):
    server, workers, _ = make({0: lambda v: None}, deadline=0.5)
    seconds = []
    for _record in server.train(1, 4):
        began = workers.network.now
        server.settle_accounts()
        seconds.append(round(workers.network.now - began, 1))
    assert seconds == [0.5, 0, 0, 0]


def test_told_to_stop_a_server_gives_up_the_step_under_way(make):
    server, _, model = make()
    steps = server.train(1, 10)
    next(steps)
    before = model.weights.copy()
    server.stop()
    assert list(steps) == []
    assert np.array_equal(model.weights, before)
    assert server.outcomes == {"unanimous": 3}


class Drawn(Workers):
    """The Byzantine workers are drawn anew each step, and lie alike."""

    placement = Placement("random", p=45, q=5, seed=3)

    def vector(self, header):
        honest = self.honest(header)
        return -100 * honest if header.worker in self.placement.byzantine(header.step) else honest


CLUSTER = [1 + worker for worker in range(45)]


@pytest.fixture
def cluster(tmp_path):
    """45 workers in secret groups of 3, and a PS that computes suspects' files itself."""
    ledger = Ledger(tmp_path / "ledger.jsonl", CLUSTER, {})

    def _cluster(workers, minimum):
        server, _ = serve(
            workers, ledger, groups="redrawn", seed=1, q=5, hierarchy=create_hierarchy("d-median"), f=None, size=2,
            on_tie="recompute", deadline=5, fetch_deadline=1,
            quarantine=OffenceQuarantine("recompute", 3, 10, LATE_STEPS, minimum),
        )  # fmt: skip
        return server

    yield _cluster
    ledger.close()


def test_in_some_hundred_steps_all_byzantine_are_convicted_and_no_honest_one(cluster):
    byzantine = sorted(np.random.default_rng(3).choice(45, 5, replace=False).tolist())
    server = cluster(Workers(CLUSTER, lies=dict.fromkeys(byzantine, lambda v: -100 * v)), minimum=0)
    list(server.train(1, 400))
    counts = server.ledger.counts
    assert sorted(server.quarantine.out) == byzantine
    assert [worker for worker in range(45) if any(counts[worker][kind] for kind in kinds(Trait.PROOF))] == byzantine
    assert sum(counts[worker]["dissented"] for worker in range(45) if worker not in byzantine) > 0


def test_byzantine_workers_drawn_anew_are_convicted_of_steps_they_lied_alone_in(cluster, tmp_path):
    workers = Drawn(CLUSTER)
    server = cluster(workers, minimum=45)
    list(server.train(1, 500))
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    convicted = [(line["step"], line["worker"]) for line in lines if line["kind"] in kinds(Trait.PROOF)]
    assert len(convicted) > 20
    assert all(worker in workers.placement.byzantine(step) for step, worker in convicted)
    wronged = [line for line in lines if line["kind"] == "dissented"]
    assert any(line["worker"] not in workers.placement.byzantine(line["step"]) for line in wronged)


def test_a_gradient_that_came_behind_anothers_broke_a_promise_and_is_not_late_too(make):
    server, workers = make()[:2]
    workers.computing = 0.01
    workers.delays[0] = 0.1  # worker 0 is asked first
    list(server.train(1, 1))
    server.settle_accounts()
    workers.delays.clear()
    list(server.train(2, 150))
    assert {kind for kind, count in server.ledger.counts[0].items() if count} == {"agreed", "withheld"}
