import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from detox.ps.model import GlobalModel
from detox.ps.optimizers import create_optimizer
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
    options = {"milestones": [2, 4], "gamma": 0.1} if schedule == "step" else {}
    model = GlobalModel(
        Normed(), seed=3, steps=6, optimizer=name, arguments=OPTIMIZERS[name], schedule=schedule,
        schedule_options=options,
    )  # fmt: skip
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


@pytest.mark.parametrize("step", [1, 4, 7])
def test_a_longer_run_goes_on_with_the_schedule_of_its_own_length(step):
    """The definition: the learning rates of a run that had this length from the start."""

    def make(steps, name, options):
        return GlobalModel(Normed(), seed=1, steps=steps, schedule=name, schedule_options=options,
                           arguments={"lr": 0.1, "momentum": 0.9})  # fmt: skip

    def push(model, steps):
        rates = []
        for _ in range(steps):
            model.apply(np.ones(model.d, np.float32), np.zeros(model.b, np.float32))
            rates.append(
                {k: v for k, v in model.state()["optimizer"]["param_groups"][0].items() if k in ("lr", "momentum")}
            )
        return rates

    for name, options in (("cosine", {}), ("OneCycleLR", {"max_lr": 0.5}), ("ExponentialLR", {"gamma": 0.9})):
        short, longer, whole = make(7, name, options), make(12, name, options), make(12, name, options)
        push(short, step)
        longer.restore(short.state())
        assert push(longer, 12 - step) == push(whole, 12)[step:]
        assert longer.depends_on_steps == (name != "ExponentialLR")


@pytest.mark.parametrize(
    ("name", "options", "create"),
    [
        ("ExponentialLR", {"gamma": 0.8}, lambda o: lr_scheduler.ExponentialLR(o, 0.8)),
        ("LinearLR", {"total_iters": 4}, lambda o: lr_scheduler.LinearLR(o, total_iters=4)),
        ("cosine", {"eta_min": 0.01}, lambda o: lr_scheduler.CosineAnnealingLR(o, 9, 0.01)),
        ("OneCycleLR", {"max_lr": 0.2}, lambda o: lr_scheduler.OneCycleLR(o, 0.2, 9)),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.2, "step_size_up": 2},
         lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.2, 2)),
        ("CosineAnnealingWarmRestarts", {"T_0": 3}, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3)),
        ("ReduceLROnPlateau", {"patience": 1, "factor": 0.5},
         lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1, factor=0.5)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("clip", [None, 1.5])
def test_schedule_warm_up_and_clipping_are_those_of_a_loop_in_torch_also_resumed(name, options, create, warmup, clip):
    def make():
        return GlobalModel(Normed(), seed=3, steps=9, arguments={"lr": 0.1, "momentum": 0.9}, schedule=name,
                           schedule_options=options, warmup=warmup, clip_norm=clip)  # fmt: skip

    torch.manual_seed(3)
    plain = Normed().build_model()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    schedule, model = create(optimizer), make()
    rng = np.random.default_rng(0)
    for step in range(9):
        gradient = rng.standard_normal(model.d).astype(np.float32)
        model.apply(gradient, np.zeros(model.b, np.float32))
        start = 0
        for parameter in plain.parameters():
            part = gradient[start : start + parameter.numel()]
            parameter.grad = torch.from_numpy(part.copy()).view(parameter.shape)
            start += parameter.numel()
        if clip:
            nn.utils.clip_grad_norm_(plain.parameters(), clip)
        rate = optimizer.param_groups[0]["lr"]
        optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / (warmup or 1))
        optimizer.step()
        optimizer.param_groups[0]["lr"] = rate
        if name == "ReduceLROnPlateau":
            schedule.step(1.0)
            model.evaluated(1.0)
        else:
            schedule.step()
        if step == 4:
            model, former = make(), model
            model.restore(former.state())
    expected = torch.cat([p.detach().reshape(-1) for p in plain.parameters()])
    assert torch.equal(torch.from_numpy(model.weights[: model.d]), expected)


@pytest.mark.parametrize("resumed", [0, 3])
def test_the_mean_of_the_weights_is_torchs_and_is_what_is_evaluated(resumed):
    class Telling(Normed):
        def evaluate(self, model):
            return {"loss": sum(p.sum().item() for p in model.parameters()), "mean": model[1].running_mean.sum()}

    def make():
        return GlobalModel(Telling(), seed=1, steps=9, arguments={"lr": 0.1}, ema=0.75)

    model = make()
    ema = torch.optim.swa_utils.get_ema_multi_avg_fn(0.75)
    averaged = torch.optim.swa_utils.AveragedModel(Normed().build_model(), multi_avg_fn=ema)
    for step in range(6):
        model.apply(np.full(model.d, step - 2, np.float32), np.arange(model.b, dtype=np.float32))
        averaged.update_parameters(model.module)
        if step + 1 == resumed:
            model, former = make(), model
            model.restore(former.state())
    before = model.weights.copy()
    named, scores = model.named(), model.evaluate()
    assert model.weights.tobytes() == before.tobytes()
    for name, parameter in averaged.module.named_parameters():
        torch.testing.assert_close(named[name], parameter.detach())
    assert scores["loss"] == pytest.approx(sum(p.sum().item() for p in averaged.module.parameters()), abs=1e-5)
    assert named["1.running_mean"].tolist() == [0, 1]
    assert scores["mean"] == 1


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Cosine", {}, "there is no Cosine; there are .*OneCycleLR.*cosine, step"),
        ("LambdaLR", {}, "there is no LambdaLR"),
        ("CosineAnnealingLR", {}, 'for CosineAnnealingLR write "cosine"'),
        ("MultiStepLR", {}, 'for MultiStepLR write "step"'),
        ("constant", {"gamma": 1}, 'schedule = "constant" takes no gamma'),
        ("ExponentialLR", {}, "ExponentialLR: .*gamma"),
        ("ExponentialLR", {"gama": 1}, "ExponentialLR takes no gama; it takes gamma"),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 5}, "OneCycleLR: it is over after 5 steps, and the run has 9"),
        ("StepLR", {"step_size": "x"}, "StepLR: "),
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_be_had_is_told(name, options, words):
    with pytest.raises(ValueError, match=f"^optimizer.schedule(_options)?: .*{words}"):
        GlobalModel(Normed(), seed=0, steps=9, arguments={"lr": 0.1, "momentum": 0.9}, schedule=name,
                    schedule_options=options)  # fmt: skip


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
