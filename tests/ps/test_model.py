import numpy as np
import pytest
import torch
from torch import nn

from detox.ps.model import GlobalModel, create_optimizer
from detox.tasks import Task


class Normed(Task):
    train_size = 10
    device = torch.device("cpu")

    def build_model(self):
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))

    def loss(self, model, indices, generator):
        raise AssertionError

    def evaluate(self, model):
        return {"loss": 1.0, "accuracy": 0.5}


OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    "AdamW": {"lr": 0.01, "weight_decay": 0.1},
    "Adagrad": {"lr": 0.05},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
def test_updates_are_those_of_torchs_optimizer_on_an_ordinary_model(name, schedule):
    model = GlobalModel(
        Normed(), seed=3, steps=6, optimizer=name, arguments=OPTIMIZERS[name], schedule=schedule, milestones=(2, 4)
    )
    torch.manual_seed(3)
    plain = Normed().build_model()
    optimizer = getattr(torch.optim, name)(plain.parameters(), **OPTIMIZERS[name])
    lr = OPTIMIZERS[name]["lr"]
    rates = {
        "constant": [lr] * 6,
        "step": [lr, lr, lr / 10, lr / 10, lr / 100, lr / 100],
        "cosine": [lr * (1 + np.cos(np.pi * t / 6)) / 2 for t in range(6)],
    }[schedule]
    rng = np.random.default_rng(0)
    for rate in rates:
        gradient = rng.standard_normal(model.d).astype(np.float32)
        model.apply(gradient, np.arange(model.b, dtype=np.float32))
        optimizer.param_groups[0]["lr"] = rate
        start = 0
        for parameter in plain.parameters():
            part = gradient[start : start + parameter.numel()]
            parameter.grad = torch.from_numpy(part).view(parameter.shape)
            start += parameter.numel()
        optimizer.step()
    expected = torch.cat([p.detach().reshape(-1) for p in plain.parameters()]).numpy()
    assert np.allclose(model.weights[: model.d], expected, rtol=1e-5, atol=1e-7)
    assert model.weights[model.d :].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert model.module[1].num_batches_tracked == 4 + (5 << 16) + (6 << 32) + (7 << 48)


def test_a_restored_model_goes_on_bit_for_bit():
    def make():
        return GlobalModel(Normed(), seed=1, steps=9, arguments={"lr": 0.1, "momentum": 0.9}, schedule="cosine")

    def push(model, steps):
        for step in steps:
            model.apply(np.full(model.d, step, np.float32), np.zeros(model.b, np.float32))

    whole, first, second = make(), make(), make()
    push(whole, range(8))
    push(first, range(5))
    second.restore(first.state())
    push(second, range(5, 8))
    assert second.digest == whole.digest


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("Sgd", {"lr": 1.0}, "torch.optim has no Sgd; it has .*SGD"),
        ("Optimizer", {"lr": 1.0}, "torch.optim has no Optimizer"),
        ("Adam", {"lr": 1.0, "momentum": 0.9}, "optimizer: Adam: .*momentum"),
        ("LBFGS", {"lr": 1.0}, "optimizer: LBFGS: .*closure"),
        ("SparseAdam", {"lr": 1.0}, "optimizer: SparseAdam: .*dense"),
        ("SGD", {"lr": 0.1, "nesterov": True}, "Nesterov"),
    ],
)
def test_an_optimizer_that_cannot_be_had_is_told(name, arguments, words):
    with pytest.raises(ValueError, match=words):
        GlobalModel(Normed(), seed=0, steps=1, optimizer=name, arguments=arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Adam", {"betas": (0.9,)}), ("Adam", {"betas": ("a", "b")}), ("Adam", {"capturable": True}),
        ("Adafactor", {"eps": ()}), ("SGD", {"weight_decay": 10**30}), ("ASGD", {"alpha": 1e300}),
        ("Rprop", {"etas": (0.5,)}), ("LBFGS", {}), ("SGD", {"betas": (0.9, 0.9)}),
    ],
)  # fmt: skip
def test_what_an_optimizer_does_not_take_is_told_in_words(name, arguments):
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=f"^optimizer: {name}: .+"):
        create_optimizer(name, [parameter], {"lr": 0.1, **arguments})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Adam", {"betas": (0.9, 0.98), "fused": False}), ("Adafactor", {"eps": (1e-30, 1e-3), "beta2_decay": -0.8}),
        ("Rprop", {"etas": (0.5, 1.2), "step_sizes": (1e-6, 50)}), ("SGD", {"nesterov": True, "momentum": 0.9}),
    ],
)  # fmt: skip
def test_what_an_optimizer_takes_can_be_given_as_a_config_has_it(name, arguments):
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    optimizer = create_optimizer(name, [parameter], {"lr": 0.1, **arguments})
    assert arguments.items() <= optimizer.defaults.items()
