"""Every attack through the real server and the real workers' loops, in one process: messages are real, MPI is not."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from helpers import employ

from detox.config import Config
from detox.config.adversary import create_adversary, create_placement
from detox.ps.aggregation import Aggregation
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.server import Server
from detox.tasks import FlatModel, create_task
from detox.tasks.samples import Files
from detox.wire import Codec, Kind
from detox.wire.memory import Network
from detox.worker.attacks import ATTACKS

STEPS = 4
HOSTS = 3  # groups are drawn at random, so colluders of one group are on several ranks


@pytest.fixture(scope="module")
def task():
    return create_task("digits", model="softmax", data_dir=None, device="cpu")


@pytest.fixture
def train(tmp_path, task):
    def _train(config):
        ranks = [1 + worker * HOSTS // config.p for worker in range(config.p)]
        model = GlobalModel(task, seed=0, steps=STEPS)
        size = model.d + model.b
        network, fellows = Network(), Network()
        session = network.session(0, [1, 2, 3])
        for rank in (1, 2, 3):
            torch.manual_seed(0)
            own = fellows.session(rank - 1, {0, 1, 2} - {rank - 1})
            own.expect({Kind.COLLUDE: 4 * size})
            adversary = create_adversary(config, ranks, rank, own, model.d, model.b) if config.q else None
            employ(network, rank, size, task, FlatModel(task.build_model()), Codec(size, "none"), adversary)
        files = Files(config.votes, 12, task.train_size, 0)
        ledger = Ledger(tmp_path / "ledger.jsonl", ranks, {})
        scheme = config.create_scheme()
        server = Server(
            session, ranks, model, Codec(size, "none"), files=files, scheme=scheme,
            create_ballot=config.create_ballot(model.d), aggregation=Aggregation(config.hierarchy, scheme, config.f, 0),
            ledger=ledger, quarantine=config.create_quarantine(), q=config.q, on_tie="drop", deadline=60.0,
            fetch_deadline=60.0,
        )  # fmt: skip
        assert not any(record.skipped for record in server.train(1, STEPS))
        ledger.close()
        return SimpleNamespace(digest=model.digest, outcomes=server.outcomes, counts=ledger.counts)

    return _train


def _config(q, placement="spread", p=9, **attack):
    aggregator = {"name": "mean", "f": 0}
    attack = {"placement": placement, **attack}
    stay = {"policy": "never"}  # whoever leaves takes files along, and so changes the bits
    return Config(p=p, q=q, r=3, groups="random", aggregator=aggregator, attack=attack, quarantine=stay)


@pytest.fixture
def honest(train):
    return train(_config(0)).digest


@pytest.mark.parametrize("knowledge", ["colluders", "omniscient"])
def test_where_each_group_has_an_honest_majority_no_attack_changes_a_bit(train, honest, knowledge):
    for kind in ATTACKS:
        config = _config(3, kind=kind, knowledge=knowledge)
        run = train(config)
        assert run.digest == honest, kind
        byzantine = create_placement(config).byzantine(1)
        assert len(byzantine) == 3
        for worker, counts in enumerate(run.counts):
            assert counts.keys() <= ({"agreed", "dissented"} if worker in byzantine else {"agreed"}), (kind, worker)
            assert counts.total() == STEPS, (kind, worker)
        # A copy of the first file's gradient, or of any one, is what the colluder of that file should have sent.
        assert run.outcomes["majority"] >= (2 if kind in ("mimic", "delayed") else 3) * STEPS, kind


def test_colluders_win_the_vote_of_a_group_they_fill_in_every_attack(train, honest):
    won = []
    for kind in ATTACKS:
        run = train(_config(3, "group", kind=kind, knowledge="omniscient"))
        if kind in ("nan", "inf"):
            assert run.outcomes == Counter(unanimous=2 * STEPS, none=STEPS), kind
        else:
            assert run.outcomes == Counter(unanimous=3 * STEPS), kind
        if run.digest != honest:
            won.append(kind)
    assert won == list(ATTACKS)


def test_colluders_that_are_two_of_three_agree_in_every_attack(train):
    # Two pairs win the vote of their groups: were their bits not equal, these groups would have none.
    for kind in ATTACKS:
        outcomes = train(_config(4, "worst", p=15, kind=kind, knowledge="omniscient")).outcomes
        if kind in ("nan", "inf"):
            assert outcomes["none"] == 2 * STEPS, kind
            continue
        assert outcomes["none"] == 0, kind
        # A copy of a file's own gradient is no lie to its group.
        assert outcomes["majority"] >= (1 if kind in ("mimic", "delayed") else 2) * STEPS, kind


def test_scale_and_perturbation_reach_the_attack(train):
    options = ({}, {"perturbation": "unit"}, {"perturbation": "sign"}, {"scale": 0.5}, {"knowledge": "colluders"})
    digests = [
        train(_config(3, "group", **{"kind": "min_max", "knowledge": "omniscient", **option})).digest
        for option in options
    ]
    assert len(set(digests)) == len(options)
