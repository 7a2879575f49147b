"""A rank's loop, driven by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import employ
from torch import nn

from detox.tasks import FlatModel, Task
from detox.wire import Codec, Computed, Header, Kind, Pulse, Work, digest_of
from detox.wire import codec as codec_module
from detox.wire.evidence import Evidence, Question
from detox.wire.memory import Network
from detox.worker import rank as module
from detox.worker import servers as servers_module
from detox.worker.adversary import Adversary

WEIGHTS = np.zeros(2, np.float32)


class Line(Task):
    """The gradient of a sample is its number, twice."""

    train_size, device = 9, torch.device("cpu")

    def build_model(self):
        return nn.Linear(2, 1, bias=False)

    def loss(self, model, indices, generator):
        return model.weight.sum() * float(indices.mean())

    def evaluate(self, model):
        raise AssertionError


@pytest.fixture
def heard():
    """What the PS hears."""
    return []


@pytest.fixture
def network(heard):
    network = Network()
    network.ps = network.channel(0, [1], heard.append)
    return network


@pytest.fixture
def employed(network):
    def _employed(adversary=None, task=None, **options):
        task = task or Line()
        return employ(network, 1, 2, task, FlatModel(task.build_model()), Codec(2, "none"), adversary, **options)

    return _employed


@pytest.fixture
def host(employed):
    return employed()


def ask(network, step, worker, *files):
    """The PS sends a step's weights and asks a worker for files, each of the sample of its number."""
    network.ps.send([1], Header(Kind.WEIGHTS, step), WEIGHTS.data.cast("B"))
    for file in files:
        work = Work(digest_of(WEIGHTS), 0, True, np.array([file]))
        network.ps.send([1], Header(Kind.WORK, step, worker, file), work.pack())


def run(host):
    while host.turn():
        pass


def claimed(heard):
    """(step, file) of the claims, as they came."""
    return [(m.header.step, m.header.file) for m in heard if m.header.kind == Kind.CLAIM]


def test_a_late_claim_for_an_old_step_does_not_displace_what_was_claimed_since(employed, network, heard):
    colluders = Network()
    fellow, session = colluders.channel(1, [0]), colluders.session(0, [1])
    session.expect({Kind.COLLUDE: 8})
    placement = SimpleNamespace(byzantine=lambda step: frozenset({0, 1}))
    host = employed(Adversary("alie", 0.0, placement, [0, 1], 0, session, wait=1e9, seed=0))
    ask(network, 4, 0, 1)
    run(host)
    ask(network, 5, 0, 2)
    run(host)
    assert claimed(heard) == []
    for step in (5, 4):
        fellow.send([0], Header(Kind.COLLUDE, step, 1, 8), np.full(2, 8, np.float32).data.cast("B"))
        run(host)
    assert claimed(heard) == [(5, 2), (4, 1)]
    network.ps.send([1], Header(Kind.FETCH, 5, 0, 2))
    host.turn()
    assert heard[-1].header == Header(Kind.GRADIENT, 5, 0, 2)
    assert np.frombuffer(heard[-1].payload, np.float32).tolist() == [5, 5]  # the mean of files 2 and 8


def test_what_was_claimed_is_let_go_when_anybody_of_the_rank_computes_the_next_step(host, network, heard):
    ask(network, 3, 0, 2)
    ask(network, 3, 1, 5)
    run(host)
    ask(network, 4, 1, 6)
    run(host)
    for step, worker, file in ((3, 0, 2), (3, 1, 5), (4, 1, 6)):
        network.ps.send([1], Header(Kind.FETCH, step, worker, file))
    run(host)
    assert [(m.header.step, m.header.file) for m in heard if m.header.kind == Kind.GRADIENT] == [(4, 6)]


def test_the_first_chunk_of_a_gradient_leaves_at_once_and_the_others_in_turn(employed, network, monkeypatch):
    monkeypatch.setattr(codec_module, "CHUNK", 1)
    monkeypatch.setattr(servers_module, "LEAVING", 1)
    network.ps = ps = network.channel(0, [1])
    ps.limits.update({Kind.CLAIM: 32, Kind.COMPUTED: Computed.BYTES, Kind.GRADIENT: 4})
    host = employed()
    ask(network, 3, 7, 2, 5)
    run(host)
    for file in (2, 5):
        ps.send([1], Header(Kind.FETCH, 3, 7, file))
    came = []
    for _ in range(10):
        run(host)
        now = [(m.header.file, m.header.chunk) for m in ps.receive() if m.header.kind == Kind.GRADIENT]
        came.append(now)
    assert came[:4] == [[(2, 0), (5, 0)], [(2, 1)], [(5, 1)], []]


def test_what_a_worker_claimed_of_several_files_is_kept_file_by_file(host, network, heard):
    ask(network, 3, 7, 2, 5)
    run(host)
    assert claimed(heard) == [(3, 2), (3, 5)]
    for file in (5, 2, 4):
        network.ps.send([1], Header(Kind.FETCH, 3, 7, file))
    host.turn()
    sent = {m.header.file: bytes(m.payload) for m in heard if m.header.kind == Kind.GRADIENT}
    assert sent == {file: np.full(2, file, np.float32).tobytes() for file in (2, 5)}


@pytest.mark.parametrize(("shared", "took"), [(False, (2, 2, 2)), (True, (2, 0, 2))])
def test_a_rank_says_since_when_it_computes_for_its_workers(employed, network, heard, shared, took):
    class Slow(Line):
        def loss(self, model, indices, generator):
            network.now += 2
            return super().loss(model, indices, generator)

    host = employed(task=Slow(), share_compute=shared)
    for step in (3, 4):
        network.now += 8  # of which no worker computes
        ask(network, step, 7, 2)
        ask(network, step, 8, 2, 5)
        run(host)
    said = [(m.header.step, Computed.unpack(m.payload)) for m in heard if m.header.kind == Kind.COMPUTED]
    expected = [Computed(seconds, since) for seconds, since in zip(took, np.cumsum(took), strict=True)]
    assert said == [(step, spent) for step in (3, 4) for spent in expected]


def test_a_worker_shows_what_differs_of_its_claim_and_nothing_of_anything_older(host, network, heard):
    ask(network, 3, 7, 2, 5)
    run(host)
    question = Question(1, (digest_of(np.full(2, 2, np.float32)),)).pack()
    for step, file in ((3, 2), (3, 5), (3, 9), (2, 5)):
        network.ps.send([1], Header(Kind.EXAMINE, step, 7, file), question)
    host.turn()
    sent = {m.header.file: Evidence.unpack(m.payload, 2) for m in heard if m.header.kind == Kind.EVIDENCE}
    assert sent.keys() == {2, 5}
    assert sent[2].entries.size == 0
    assert sent[5].entries.tolist() == [5, 5]
    assert sent[5].digests == (digest_of(np.full(2, 5, np.float32)),)


def test_an_echo_comes_back_with_clock_and_memory_in_front(host, network, heard, monkeypatch):
    monkeypatch.setattr(module.time, "time", lambda: 1e9 + 0.5)
    header = Header(Kind.ECHO, 3, 1, 4)
    network.ps.send([1], header, b"there")
    host.turn()
    (answer,) = heard
    assert answer.header == header
    pulse = Pulse.unpack(answer.payload)
    assert pulse.clock == 1e9 + 0.5
    assert pulse.memory > 0
    assert answer.payload[Pulse.BYTES :] == b"there"


def test_a_rank_leaves_when_told_and_when_the_ps_is_silent_or_dead(host, network):
    network.later(30, lambda: network.ps.send([1], Header(Kind.ECHO)))
    assert not host.serve()
    assert 90 < network.now < 91
    network.kill(0)
    assert not host.serve()
    assert network.now < 91


def test_quit_ends_a_rank(host, network):
    network.ps.send([1], Header(Kind.QUIT))
    assert host.serve()
