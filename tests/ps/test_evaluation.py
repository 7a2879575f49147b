"""An evaluation changes nothing of the training, whatever the task does in it."""

import io
import os
import random
import sys

import numpy as np
import pytest
import torch
from sound import Sound, everything, steps, tried
from torch import nn
from torch.nn.functional import cross_entropy

from detox.ps.model import GlobalModel
from detox.tasks import TaskError


def changing(name, change):
    """A task whose `evaluate` changes something, by the name of what it changes."""

    class Changing(Sound):
        def evaluate(self, model):
            change(self, model)
            return super().evaluate(model)

    Changing.__name__ = name
    return Changing


CHANGES = {
    "nothing": lambda task, model: None,
    "training mode": lambda task, model: model.train()(task.x),
    "mode of a part": lambda task, model: model[1].train()(torch.randn(9, 8)),
    "random numbers": lambda task, model: (torch.rand(5), np.random.rand(), random.random()),
    "seeds": lambda task, model: (torch.manual_seed(1), np.random.seed(1), random.seed(1)),
    "requires_grad": lambda task, model: model.requires_grad_(False),
    "zero_grad": lambda task, model: model.zero_grad(),
    "zeroed gradients": lambda task, model: model.zero_grad(set_to_none=False),
    "a backward pass": lambda task, model: cross_entropy(model(task.x), task.y).backward(),
    "parameters": lambda task, model: model[0].weight.data.zero_(),
    "replaced parameters": lambda task, model: setattr(model[0], "weight", nn.Parameter(torch.zeros(8, 6))),
    "buffers": lambda task, model: model[1].reset_running_stats(),
    "replaced buffers": lambda task, model: setattr(model[1], "running_mean", torch.ones(8)),
    "half and back": lambda task, model: model.double().float(),
    "attributes": lambda task, model: (setattr(model[2], "p", 0.9), setattr(model[1], "momentum", None)),
    "hooks": lambda task, model: model[0].register_forward_hook(lambda m, i, out: 0 * out),
    "layers": lambda task, model: model.__setitem__(0, nn.Linear(6, 8)),
    "gradient mode": lambda task, model: torch.set_grad_enabled(False),
    "torch's settings": lambda task, model: (torch.set_default_dtype(torch.float64), torch.set_num_threads(3)),
    "the output": lambda task, model: vars(sys).update(stdout=io.StringIO(), stderr=io.StringIO()),
    "the current folder": lambda task, model: os.chdir("/"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_evaluation_cannot_change_the_training(what):
    never = GlobalModel(Sound(), seed=0, steps=9, arguments={"lr": 0.1, "momentum": 0.9})
    often = tried(changing(what, CHANGES[what])())
    for _ in zip(steps(never), steps(often), strict=True):
        before = everything(often)
        often.evaluate()
        assert everything(often) == before
    assert often.digest == never.digest


def test_a_model_is_evaluated_in_evaluation_mode_and_each_part_gets_its_mode_back():
    class Watching(Sound):
        def evaluate(self, model):
            assert not any(module.training for module in model.modules())
            raise OSError("no test set")

    model = GlobalModel(Watching(), seed=0, steps=9)
    model.module[1].eval()
    with pytest.raises(
        TaskError, match=r"evaluate failed with OSError: no test set, in .*test_evaluation\.py:\d+ \(evaluate\)"
    ):
        model.evaluate()
    assert [module.training for module in model.module] == [True, False, True, True]
