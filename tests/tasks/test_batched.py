"""Several files in one call: a file's gradient is that of its own, and its bits do not depend on the others."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, dropout

from detox.tasks import MODELS, FlatModel, Task, TaskError
from detox.tasks.computing import Computing

FILES = [(np.arange(12) + 7 * file, 5 + file) for file in range(20)]


class Toy(Task):
    """Random images, with noise from the generator."""

    device = torch.device("cpu")
    train_size = 160

    def __init__(self, build=None):
        generator = torch.Generator().manual_seed(0)
        self.build = build or (lambda: MODELS["mlp"]((1, 12, 12), 4))
        self.x = torch.randn((160, 1, 12, 12), generator=generator)
        self.y = torch.randint(0, 4, (160,), generator=generator)

    def build_model(self):
        torch.manual_seed(1)
        return self.build()

    def batch(self, indices, generator):
        x = self.x[indices]
        return x + 0.1 * torch.randn(x.shape, generator=generator), self.y[indices]

    def batch_loss(self, model, *batch):
        x, y = batch
        return cross_entropy(model(x), y)

    def loss(self, model, indices, generator):
        return self.batch_loss(model, *self.batch(indices, generator))

    def evaluate(self, model):
        raise AssertionError


def partly_frozen():
    model = MODELS["mlp"]((1, 12, 12), 4)
    model[1].weight.requires_grad_(False)
    return model


def weight_of_two_layers():
    first, second = nn.Linear(144, 144), nn.Linear(144, 144)
    second.weight = first.weight
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second)


class Spare(nn.Module):
    """Has a parameter that no loss reaches."""

    def __init__(self):
        super().__init__()
        self.unused, self.used = nn.Parameter(torch.ones(3)), nn.Linear(144, 4)

    def forward(self, x):
        return self.used(x.flatten(1))


MODELS_HERE = {
    "mlp": None,
    "lenet": lambda: MODELS["lenet"]((1, 12, 12), 4),
    "frozen": partly_frozen,
    "layer twice": lambda: (lambda layer: nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer))(nn.Linear(144, 144)),
    "weight of two layers": weight_of_two_layers,
    "spare": Spare,
}


def model_of(task, batched=True):
    return FlatModel(task.build_model(), Computing(batched=batched))


@pytest.mark.parametrize("name", MODELS_HERE)
def test_a_file_has_the_gradient_that_it_has_in_a_call_of_its_own(name):
    task = Toy(MODELS_HERE[name])
    together = model_of(task).compute_files(task, FILES)
    each = model_of(task, batched=False).compute_files(task, FILES)
    np.testing.assert_allclose(together, each, rtol=1e-4, atol=1e-6)
    assert (np.signbit(together) == np.signbit(each))[np.array(each) == 0].all()


@pytest.mark.parametrize("name", MODELS_HERE)
@settings(max_examples=15)
@given(chosen=st.lists(st.integers(0, 19), min_size=1, max_size=35))
def test_the_bits_of_a_file_depend_on_neither_its_place_nor_the_others(name, chosen):
    task = Toy(MODELS_HERE[name])
    model = model_of(task)
    found = model.compute_files(task, [FILES[file] for file in chosen])
    alone = {file: model.compute(task, *FILES[file]).tobytes() for file in set(chosen)}
    assert [vector.tobytes() for vector in found] == [alone[file] for file in chosen]


@pytest.mark.parametrize(
    ("layer", "named"), [(nn.BatchNorm2d(1), "running statistics"), (nn.Dropout(0.2), "one seed for all files")]
)
def test_a_layer_that_cannot_be_batched_is_named(layer, named):
    task = Toy(lambda: nn.Sequential(layer, nn.Flatten(), nn.Linear(144, 4)))
    with pytest.raises(TaskError, match=f'compute = "batched": the model\'s 0 is .*{named}.*set compute = "each"'):
        model_of(task)


class Follows(nn.Module):
    """A frozen weight is changed by what a file has."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(144, 4)
        self.mean = nn.Parameter(torch.zeros(144), requires_grad=False)

    def forward(self, x):
        x = x.flatten(1)
        self.mean.mul_(0.9).add_(x.detach().mean(0))
        return self.layer(x - self.mean)


class Counts(Follows):
    """A buffer is, as it may, by the same in each file."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        return self.layer(x.flatten(1)) / self.count


def test_a_frozen_weight_that_files_would_change_differently_is_refused():
    task = Toy(Follows)
    with pytest.raises(TaskError, match="the loss under vmap failed"):
        model_of(task).compute(task, *FILES[0])


def test_a_buffer_that_counts_is_carried_once_a_file():
    task = Toy(Counts)
    vectors = [model_of(task, batched=of).compute_files(task, FILES) for of in (True, False)]
    np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("methods", "why"),
    [
        ({"batch_loss": lambda task, model, x, y: dropout(model(x)).sum()}, "the loss under vmap failed.*random"),
        ({"batch_loss": lambda task, model, x, y: model(x).sum() + float(x.sum())}, "the loss under vmap failed"),
        ({"batch_loss": lambda task, model, x, y: model(x)}, r"the loss has shape \(12, 4\)"),
        ({"batch": lambda task, indices, generator: task.x[indices]}, "has to return a tuple of tensors"),
        ({"batch": Task.batch}, "has no methods `batch` and `batch_loss`"),
    ],
)
def test_a_loss_that_cannot_be_batched_is_refused_in_words(methods, why):
    task = type("Other", (Toy,), methods)()
    with pytest.raises(TaskError, match=why):
        model_of(task).compute(task, *FILES[0])
