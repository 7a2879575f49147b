"""A task with nothing wrong, and the model of a run that trains on it by hand."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from detox.ps.model import GlobalModel
from detox.ps.trial import try_out
from detox.tasks import Task
from detox.tasks.samples import Files

FILES = Files(2, 6, 40, 0)


class Sound(Task):
    """A task with nothing wrong, and batch norm and dropout in its model."""

    train_size, device = 40, torch.device("cpu")

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn((40, 6), generator=generator), torch.arange(40) % 3

    def build_model(self):
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))

    def loss(self, model, indices, generator):
        return cross_entropy(model(self.x[indices]), self.y[indices])

    def evaluate(self, model):
        return {"loss": cross_entropy(model(self.x), self.y)}


def tried(task, warn=None, **options):
    model = GlobalModel(task, seed=0, steps=9, arguments={"lr": 0.1, "momentum": 0.9})
    options = {"bits": True, "signs": False, **options}
    files = Files(FILES.count, FILES.size, task.train_size, FILES.seed)
    try_out(task, model, files, warn=pytest.fail if warn is None else warn, **options)
    return model


def steps(model, count=3):
    for step in range(1, count + 1):
        votes = np.stack([model.compute(i, FILES.file_seed(step, f)) for f, i in enumerate(FILES.draw(step))])
        buffers = model.agree(votes[:, model.d :], 0) if model.b else None
        model.apply(votes[:, : model.d].mean(0), buffers, model.without_gradient(votes, 0))
        yield step


def everything(model):
    """Of all that decides what training does next."""
    own = [(m.training, [name for name, _ in m.named_children()]) for m in model.module.modules()]
    tensors = [*model.module.parameters(), *model.module.buffers()]
    told = [(t.data_ptr(), t.shape, t.dtype, t.requires_grad, t.grad is None) for t in tensors]
    randoms = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()
    settings = torch.get_default_dtype(), torch.get_num_threads(), Path.cwd(), sys.stdout, sys.stderr
    return own, told, randoms, settings, torch.is_grad_enabled(), [t.tolist() for t in tensors]


def holding(buffer):
    module = nn.Linear(6, 3)
    module.register_buffer("held", buffer)
    return module
