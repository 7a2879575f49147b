"""A rank's loop, driven by hand."""

import numpy as np
import pytest
import torch
from helpers import employ
from torch import nn

from detox.tasks import FlatModel, Task
from detox.wire import Codec, Header, Kind, Pulse, Work
from detox.wire.memory import Network
from detox.worker import host as module


class Nothing(Task):
    """The vectors of this test are not computed."""

    train_size, device = 1, torch.device("cpu")

    def build_model(self):
        return nn.Linear(2, 1, bias=False)

    def loss(self, model, indices, generator):
        raise AssertionError

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
def host(network):
    task = Nothing()
    return employ(network, 1, 2, task, FlatModel(task.build_model()), Codec(2, "none"))


def test_a_late_claim_for_an_old_step_does_not_displace_what_was_claimed_since(host, network, heard):
    work = Work(bytes(32), 0, True, np.arange(1))
    new, old = np.array([5, 5], np.float32), np.array([4, 4], np.float32)
    host._submit(Header(Kind.WORK, 5, 7, 2), work, new)
    host._submit(Header(Kind.WORK, 4, 7, 1), work, old)
    network.ps.send([1], Header(Kind.FETCH, 5, 7, 2))
    host.turn()
    header, payload = heard[-1].header, heard[-1].payload
    assert header == Header(Kind.GRADIENT, 5, 7, 2)
    out = np.empty(2, np.float32)
    Codec(2, "none").decode(payload, out)
    assert np.array_equal(out, new)


def test_what_a_worker_claimed_of_several_files_is_kept_file_by_file(host, network, heard):
    work, claimed = Work(bytes(32), 0, True, np.arange(1)), {file: np.array([file, 1], np.float32) for file in (2, 5)}
    for file, vector in claimed.items():
        host._submit(Header(Kind.WORK, 3, 7, file), work, vector)
    for file in (5, 2, 4):
        network.ps.send([1], Header(Kind.FETCH, 3, 7, file))
    host.turn()
    sent = {m.header.file: bytes(m.payload) for m in heard if m.header.kind == Kind.GRADIENT}
    assert sent == {file: vector.tobytes() for file, vector in claimed.items()}


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
