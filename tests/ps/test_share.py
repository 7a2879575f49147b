"""What several servers own of a model: together they make the steps of one, and their states are its state."""

import numpy as np
import pytest
import torch
from torch import nn

from detox.aggregators import Share
from detox.ps.elementwise import ELEMENTWISE
from detox.ps.model import GlobalModel
from detox.ps.share import OwnShare, cut_state, join_states
from detox.tasks import FlatModel, Task

CUTS = (0, 13, 100, 611)  # amid tensors, where no register of a processor ends


class Odd(Task):
    """Parameters of odd sizes, one of a single entry and one without any dimension."""

    train_size, device = 4, torch.device("cpu")

    def build_model(self):
        model = nn.Sequential(nn.Linear(7, 61), nn.Linear(61, 1), nn.BatchNorm1d(1))
        model.scale = nn.Parameter(torch.tensor(2.0))
        return model

    def loss(self, model, indices, generator):
        raise NotImplementedError

    def evaluate(self, model):
        raise NotImplementedError


class Alone:
    """Owners of whom one has all that is gathered."""

    begin, width = 0, 0

    def gather(self, part):
        return part


@pytest.fixture
def whole():
    def make(name):
        return GlobalModel(Odd(), seed=0, steps=9, optimizer=name, arguments={"lr": 0.01})

    return make


def shared(model):
    """The shares of servers of such a model."""
    ends = [*CUTS[1:-1], model.d + model.b]
    return [Share(begin, end, model.d) for begin, end in zip(CUTS, ends, strict=False)]


def own(name, share):
    return OwnShare(FlatModel.build(Odd(), 1), share, name, {"lr": 0.01}, Alone())


def steps(model, servers, shares, count, seed):
    """Makes steps with gradients of many magnitudes; one parameter has none in the first."""
    rng = np.random.default_rng(seed)
    for step in range(count):
        update = (rng.standard_normal(model.d) * 10 ** rng.uniform(-3, 3, model.d)).astype(np.float32)
        buffers, without = np.full(model.b, step, np.float32), [0] if step == 0 else []
        model.apply(update, buffers, without)
        for server, share in zip(servers, shares, strict=True):
            part = update[share.begin : share.begin + share.d]
            server.apply(part, buffers[: share.b], without, remember=True)


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_servers_make_the_steps_of_one_and_go_on_with_each_others_states(name, whole):
    model, other = whole(name), whole(name)
    shares = shared(model)
    shapes = [p.shape for p in model.module.parameters()]
    servers = [own(name, share) for share in shares]
    for server, share in zip(servers, shares, strict=True):
        server.restore(cut_state(model.state(), shapes, share))
    steps(model, servers, shares, 3, seed=2)
    np.testing.assert_array_equal(np.concatenate([server.weights for server in servers]), model.weights)

    joined = join_states([server.state() for server in servers], shapes, shares)
    groups = model.state()["optimizer"]["param_groups"]
    other.restore({**model.state(), **joined, "optimizer": {"state": joined["optimizer"], "param_groups": groups}})
    new = [own(name, share) for share in shares[:1]] + [own(name, Share(13, model.d + model.b, model.d))]
    halves = [shares[0], Share(13, model.d + model.b, model.d)]
    for server, share in zip(new, halves, strict=True):
        server.restore(cut_state(other.state(), shapes, share))
    steps(model, new, halves, 3, seed=3)
    np.testing.assert_array_equal(np.concatenate([server.weights for server in new]), model.weights)
    steps(other, [], [], 3, seed=3)
    np.testing.assert_array_equal(other.weights, model.weights)


def test_a_parameter_has_a_gradient_where_any_server_has_one_for_it():
    share = Share(0, 100, 490)

    class Others(Alone):
        def gather(self, part):
            other = np.ones_like(part)
            other[1, 1] = 0  # the other server's part of the parameter between has a gradient in vote 1
            return np.concatenate([part, other])

    server = OwnShare(FlatModel.build(Odd(), 0), share, "SGD", {"lr": 0.1}, Others())
    votes = np.full((3, 100), -0.0, np.float32)
    assert 1 in server.without_gradient(votes, 1)
    assert 1 not in server.without_gradient(votes, 0)
    votes[2, 5] = 1
    assert 1 not in server.without_gradient(votes, 1)
