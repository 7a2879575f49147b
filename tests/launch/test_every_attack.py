"""Every attack through the real server and the real workers' loops, in one process: messages are real, MPI is not."""

from collections import Counter, deque
from threading import Thread
from types import SimpleNamespace

import pytest
import torch

from detox.launch.config import Config
from detox.launch.placement import create_adversary, create_placement
from detox.ps.aggregation import Aggregation
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.samples import Files
from detox.ps.server import Server
from detox.tasks import FlatModel, create_task
from detox.wire import Codec, Header, Kind, Session
from detox.worker.attacks import ATTACKS
from detox.worker.host import Host

STEPS = 4
RANKS = [1, 1, 1, 2, 2, 2, 3, 3, 3]  # groups are drawn at random, so colluders of one group are on several ranks


class Post:
    """Messages between ranks, as a Transport of each has them."""

    def __init__(self, ranks):
        self.boxes = {rank: deque() for rank in ranks}

    def of(self, rank):
        def send(peers, header, payload=b""):
            for peer in peers:
                message = SimpleNamespace(source=rank, header=header, payload=memoryview(bytes(payload)), fault="")
                self.boxes[peer].append(message)

        def receive():
            while self.boxes[rank]:
                yield self.boxes[rank].popleft()

        return SimpleNamespace(
            dead=set(), limits={}, credit={}, bytes_received=0, send=send, receive=receive, sending=lambda peer: 0
        )


@pytest.fixture(scope="module")
def task():
    return create_task("digits", model="softmax", data_dir=None, device="cpu")


@pytest.fixture
def train(tmp_path, task):
    def _train(config):
        model = GlobalModel(task, seed=0, steps=STEPS)
        size = model.d + model.b
        post, fellows = Post(range(4)), Post(range(3))
        hosts = []
        for rank in (1, 2, 3):
            torch.manual_seed(0)
            adversary = create_adversary(config, RANKS, rank, fellows.of(rank - 1), model.d) if config.q else None
            flat, codec = FlatModel(task.build_model()), Codec(size, "none")
            hosts.append(
                Host(post.of(rank), task, flat, codec, adversary, share_compute=False, silence=60.0, poll=1e-4)
            )
        files = Files(config.votes, 12, task.train_size, 0)
        ledger = Ledger(tmp_path / "ledger.jsonl", RANKS, {})
        ps, scheme = post.of(0), config.create_scheme()
        server = Server(
            Session(ps, 1e-4), RANKS, model, Codec(size, "none"), files=files, scheme=scheme,
            create_ballot=config.create_ballot(model.d), aggregation=Aggregation(config.hierarchy, scheme, config.f, 0),
            ledger=ledger, quarantine=config.quarantine.create(), q=config.q, on_tie="drop", deadline=60.0,
            fetch_deadline=60.0,
        )  # fmt: skip
        threads = [Thread(target=host.serve) for host in hosts]
        for thread in threads:
            thread.start()
        try:
            assert not any(record.skipped for record in server.train(1, STEPS))
        finally:
            ps.send((1, 2, 3), Header(Kind.QUIT))
            for thread in threads:
                thread.join()
            ledger.close()
        return SimpleNamespace(digest=model.digest, outcomes=server.outcomes, counts=ledger.counts)

    return _train


def _config(q, placement="spread", **attack):
    aggregator = {"name": "mean", "f": 0}
    attack = {"placement": placement, **attack}
    return Config(p=9, q=q, r=3, groups="random", aggregator=aggregator, attack=attack)


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


def test_colluders_on_several_ranks_agree_and_win_the_vote_of_a_whole_group_in_every_attack(train, honest):
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


def test_scale_and_perturbation_reach_the_attack(train):
    options = ({}, {"perturbation": "unit"}, {"perturbation": "sign"}, {"scale": 0.5}, {"knowledge": "colluders"})
    digests = [
        train(_config(3, "group", **{"kind": "min_max", "knowledge": "omniscient", **option})).digest
        for option in options
    ]
    assert len(set(digests)) == len(options)
