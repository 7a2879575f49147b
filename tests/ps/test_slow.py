"""Workers that are slow on purpose: their bits are right, and nothing ends their waiting but the PS's patience."""

from functools import partial

import numpy as np
import pytest
from helpers import Line, Workers

from detox.aggregators import create_hierarchy
from detox.assignment import SCHEMES
from detox.ps.aggregation import Aggregation
from detox.ps.ballots import VOTES
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.offences import OffenceQuarantine
from detox.ps.round import LATE_STEPS
from detox.ps.server import Server
from detox.tasks.samples import Files
from detox.wire import Kind

P = 15
RANKS = [1 + worker for worker in range(P)]
USUAL = 0.02  # seconds, for a file
JUST_IN_TIME = {Kind.CLAIM: 57.0, Kind.GRADIENT: 57.0}  # under the old deadline
LAST_TO_DELIVER = {Kind.CLAIM: 0.001, Kind.GRADIENT: 19.0}
HALF_AS_FAST = {Kind.CLAIM: 2 * USUAL, Kind.GRADIENT: 2 * USUAL}
BELOW_LATE = {Kind.CLAIM: 0.5, Kind.GRADIENT: 0.5}


class Slow(Workers):
    """Each worker takes `seconds[worker][kind]` to an answer, those that are not in it 20 ms to a claim.

    That is a number, or a function of the step.
    """

    def __init__(self, seconds):
        super().__init__(RANKS)
        self.session.poll = 0.002
        self.seconds, self.order = seconds, np.random.default_rng(0)

    def _answer(self, _, rank, header, payload):
        usual = USUAL * self.order.uniform(0.8, 1.2) if header.kind == Kind.CLAIM or self.direct else 0.001
        seconds = self.seconds.get(header.worker, {}).get(header.kind, usual)
        seconds = seconds(header.step) if callable(seconds) else seconds
        self.network.later(seconds, partial(self.send, rank, header, payload))


@pytest.fixture
def train(tmp_path):
    ledgers = []

    def _train(seconds, steps=30, vote="digest", r=3, lazy=False, aggregator="median", skips=(), broken=0, **settings):
        """Virtual seconds, the server and the weights."""
        workers, scheme = Slow(seconds), SCHEMES["redrawn"](r, 5, lazy=lazy)
        workers.direct = vote == "full"
        model = GlobalModel(Line(), seed=0, steps=1000, arguments={"lr": 0.1})
        model.compute_files = workers.compute_files
        ledgers.append(Ledger(tmp_path / f"{len(ledgers)}.jsonl", RANKS, {}))
        for counts in ledgers[-1].counts:
            counts["withheld"] = broken
        server = Server(
            workers.session, RANKS, model, workers.codec,
            files=Files(P // ((r + 1) // 2 if lazy else r), 4, 1000, 0), scheme=scheme, create_ballot=VOTES[vote],
            aggregation=Aggregation(create_hierarchy(aggregator), scheme, 0, 0), ledger=ledgers[-1],
            quarantine=OffenceQuarantine("never", 3, 5, LATE_STEPS), q=0, on_tie="drop", **settings,
        )  # fmt: skip
        records = list(server.train(1, steps))
        assert tuple(record.step for record in records if record.skipped) == skips
        return [sum(record.seconds.values()) for record in records], server, model.weights.copy()

    yield _train
    for ledger in ledgers:
        ledger.close()


def passed_over(server):
    return {worker for worker, counts in enumerate(server.ledger.counts) if counts["passed_over"]}


@pytest.mark.parametrize(
    ("acts", "settings", "named"),
    [
        ({0: LAST_TO_DELIVER}, {}, set()),
        (dict.fromkeys((0, 1, 2), LAST_TO_DELIVER), {}, set()),
        (dict.fromkeys((0, 1), JUST_IN_TIME), {}, {0, 1}),
        (dict.fromkeys((0, 1, 2), JUST_IN_TIME), {}, {0, 1, 2}),
        ({0: JUST_IN_TIME}, {"vote": "full"}, {0}),
        (dict.fromkeys((0, 1), JUST_IN_TIME), {"vote": "full"}, {0, 1}),
        ({0: JUST_IN_TIME}, {"vote": "full", "r": 1}, {0}),
        ({0: BELOW_LATE}, {"lazy": True}, {0}),
        (dict.fromkeys((0, 1), BELOW_LATE), {"lazy": True}, {0, 1}),
        ({0: JUST_IN_TIME}, {"lazy": True}, {0}),
    ],
)  # fmt: skip
def test_who_answers_just_in_time_costs_seconds_once_and_is_named(train, acts, settings, named):
    honest, _, _ = train({}, **settings)
    slow, server, _ = train(acts, 70, **settings)
    unknown = 0 if named else 20  # in the first step nobody knows what it takes to deliver
    assert sum(slow[:40]) < sum(honest) * 3 + 6 * len(acts) + unknown
    assert sum(slow[40:]) < sum(honest) * 3
    assert passed_over(server) == named


@pytest.mark.parametrize("vote", ["digest", "full"])
@pytest.mark.parametrize("lazy", [False, True])
def test_where_majorities_keep_up_no_bit_depends_on_who_is_slow(train, vote, lazy):
    _, server, honest = train({}, vote=vote, lazy=lazy)
    assert passed_over(server) == set()
    for acts in ({0: JUST_IN_TIME}, {0: BELOW_LATE}, {7: {Kind.CLAIM: 0.1, Kind.GRADIENT: 0.1}}, {3: LAST_TO_DELIVER}):
        _, _, weights = train(acts, vote=vote, lazy=lazy)
        assert np.array_equal(weights, honest)


def test_a_machine_half_as_fast_is_not_passed_over_and_no_vote_is_lost(train):
    for settings in ({}, {"vote": "full"}, {"vote": "full", "r": 1}, {"lazy": True}):
        slow, server, _ = train(dict.fromkeys((3, 9), HALF_AS_FAST), **settings)
        assert passed_over(server) == set()
        assert server.outcomes["none"] == 0
        assert max(slow) < 4.5 * USUAL


def test_a_model_whose_gradients_take_minutes_trains(train):
    seconds = {worker: {Kind.CLAIM: 100.0, Kind.GRADIENT: 3.0} for worker in range(P)}
    slow, server, _ = train(seconds, 5)
    assert all(103 <= one < 104 for one in slow)
    assert passed_over(server) == set()


@pytest.mark.parametrize("r", [1, 3])
def test_who_is_half_as_fast_and_stalled_once_is_waited_for_again_without_claims(train, r):
    stalled = {Kind.GRADIENT: lambda step: 6.5 if step == 10 else 2 * USUAL}
    _, server, _ = train({0: stalled}, 60, vote="full", r=r)
    counts = server.ledger.counts[0]
    assert (counts["passed_over"], counts["caught_up"]) == (1, 1)
    assert counts["silent"] < 10


@pytest.mark.parametrize("settings", [{}, {"vote": "full", "r": 1}])
def test_a_fleet_that_becomes_slower_than_the_deadline_trains_from_the_next_step_on(train, settings):
    slower = dict.fromkeys((Kind.CLAIM, Kind.GRADIENT), lambda step: 70.0 if step >= 5 else USUAL)
    _, server, _ = train(dict.fromkeys(range(P), slower), 6, skips=(5,), **settings)
    assert passed_over(server) == set()


def test_a_lazy_first_step_of_minutes_passes_over_nobody(train):
    compiling = {Kind.CLAIM: lambda step: 300.0 if step == 1 else USUAL}
    _, server, _ = train(dict.fromkeys(range(P), compiling), 3, lazy=True)
    assert passed_over(server) == set()


def test_a_group_that_claims_the_truth_and_delivers_late_costs_its_credit(train):
    scheme, colluders = SCHEMES["redrawn"](3, 5), {0, 1, 2, 3}
    theirs = [n for n in range(2, 200) if any(set(held) <= colluders for held in scheme.draw(n, range(P)).holders)][:3]
    late = {Kind.GRADIENT: lambda step: 55.0 if step in theirs else 0.001}
    slow, server, _ = train(dict.fromkeys(colluders, late), theirs[-1] + 1)
    assert max(slow) < 3 * 5 + 5
    assert sum(slow) < len(colluders) * (5 + 0.05 * 60) + len(slow) * 3 * USUAL
    assert passed_over(server)
    assert passed_over(server) <= colluders
    assert server.outcomes["none"] == len(theirs)


def test_a_pause_of_all_links_costs_no_update_even_after_broken_promises(train):
    paused = {Kind.GRADIENT: lambda step: 12.0 if step == 15 else 0.001}
    _, server, _ = train(dict.fromkeys(range(P), paused), 20, broken=12)
    assert server.outcomes["none"] == 0


def test_what_is_known_of_workers_is_in_the_checkpoint(train):
    _, server, _ = train({0: JUST_IN_TIME, 1: LAST_TO_DELIVER}, 30, vote="full")
    _, fresh, _ = train({}, 1)
    state = server.state()
    fresh.restore(state)
    again = fresh.state()
    assert all(again[name] == state[name] for name in ("patience", "promises", "stragglers", "dawdlers"))
    assert 0 in state["patience"]["behind"]
