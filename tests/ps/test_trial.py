"""What a task forgets is said before the first step, and neither trial nor evaluation changes a bit."""

import io
import itertools
import os
import random
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import cross_entropy, embedding

from detox.ps.model import GlobalModel
from detox.ps.trial import try_out
from detox.tasks import Task, TaskError
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
        TaskError, match=r"evaluate failed with OSError: no test set, in .*test_trial\.py:\d+ \(evaluate\)"
    ):
        model.evaluate()
    assert [module.training for module in model.module] == [True, False, True, True]


def test_the_trial_changes_no_bit_of_the_run():
    model = GlobalModel(Sound(), seed=0, steps=9)
    before = everything(model)
    try_out(Sound(), model, FILES, bits=True, signs=False, warn=pytest.fail)
    assert everything(model) == before


class Slot(Sound):
    """A task with one method that the test puts in."""

    def __init__(self, **methods):
        super().__init__()
        for name, method in methods.items():
            setattr(self, name, method)


def losing(loss, build=None):
    task = Sound()
    methods = {"loss": lambda model, indices, generator: loss(task, model, indices)}
    return Slot(**methods, **({} if build is None else {"build_model": build}))


def mean(task, model, indices):
    return cross_entropy(model(task.x[indices]), task.y[indices])


def clamping(task, model, indices):
    for parameter in model.parameters():
        parameter.data.clamp_(-0.1, 0.1)
    return mean(task, model, indices)


def normed(task, model, indices):
    looked_up = embedding(indices_of(task, indices), model[0].weight, max_norm=0.1)
    return looked_up.mean() + mean(task, model, indices)


def indices_of(task, indices):
    return task.y[indices]


def replacing(task, model, indices):
    model[1].num_batches_tracked = model[1].num_batches_tracked + 1
    return mean(task, model, indices)


def resizing(task, model, indices):
    loss = mean(task, model, indices)
    model.held.resize_(2)
    return loss


def unfreezing(task, model, indices):
    model[0].requires_grad_(False)
    return mean(task, model, indices)


def regraded(task, model, indices):
    model[0].bias.grad = torch.zeros(8)
    return mean(task, model, indices)


def exiting(task, model, indices):
    raise SystemExit("enough")


class Counting(nn.Linear):
    """Keeps its state in Python."""

    def __init__(self, ramp):
        super().__init__(6, 3)
        self.passes, self.ramp = 0, ramp

    def forward(self, x):
        self.passes += 1
        return super().forward(x) * (min(1.0, self.passes / 50) if self.ramp else 1 if self.passes < 30 else 2)


class Remembering(nn.Linear):
    """Does something with what it remembers in Python."""

    def __init__(self, held, change):
        super().__init__(6, 3)
        self.held, self.change = held, change

    def forward(self, x):
        self.change(self)
        return super().forward(x)


def following(model):
    for follower, parameter in zip(model.held, model.parameters(), strict=True):
        follower.lerp_(parameter.detach(), 0.1)


def averaging(task, model, indices):
    return mean(task, model, indices) * functional.linear(task.x[indices], *model.held).logsumexp(1).mean()


def remembering(held, change, loss=mean):
    def build():
        module = Remembering(held(), change)
        if held is list:  # as many copies as there are parameters
            module.held = [parameter.detach().clone() for parameter in module.parameters()]
        return module

    return losing(loss, build)


def sharing():
    whole = nn.Linear(6, 6)
    return Holding(nn.Parameter(whole.weight.detach()[:4]), nn.Parameter(whole.weight.detach()[3:]))


class Holding(nn.Module):
    def __init__(self, *parameters):
        super().__init__()
        self.all = nn.ParameterList(parameters)


def without_values(module):
    with torch.inference_mode():
        return module()


class Initialising(nn.Linear):
    """Its weights come from the first samples."""

    def __init__(self):
        super().__init__(6, 3)
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, x):
        if not self.initialised:
            with torch.no_grad():
                self.bias.copy_(-x.mean(0)[:3])
            self.initialised.fill_(True)
        return super().forward(x)


class SpeechlessError(Exception):
    def __str__(self):
        raise ValueError


def speechless():
    raise SpeechlessError


def holding(buffer):
    module = nn.Linear(6, 3)
    module.register_buffer("held", buffer)
    return module


FORGOTTEN = {
    "a vector": (losing(lambda t, m, i: m(t.x[i]).logsumexp(1)), r"shape \(6,\); .*take its mean"),
    "a float": (losing(lambda t, m, i: mean(t, m, i).item()), r"the loss is a float; .*without \.item\(\)"),
    "numpy": (losing(lambda t, m, i: mean(t, m, i).detach().numpy()), "the loss is a ndarray"),
    "None": (losing(lambda t, m, i: None), "the loss is None"),
    "a tuple": (losing(lambda t, m, i: (mean(t, m, i), 1)), "the loss is a tuple"),
    "detached": (losing(lambda t, m, i: mean(t, m, i).detach()), "the loss has no gradient"),
    "without the model": (losing(lambda t, m, i: t.x.mean()), "the loss has no gradient"),
    "failing": (losing(lambda t, m, i: {}["x"]), r"the loss failed with KeyError: 'x', in .*test_trial\.py:\d+"),
    "leaving": (losing(exiting), r"the loss called sys\.exit\('enough'\), in .*test_trial\.py:\d+ \(exiting\)"),
    "clamping": (losing(clamping), r"changed the model's 0\.weight in place"),
    "max_norm": (losing(normed), r"changed the model's 0\.weight in place"),
    "a replaced counter": (losing(replacing), r"replaced the model's 1\.num_batches_tracked by another tensor"),
    "a resized buffer": (losing(resizing, lambda: holding(torch.zeros(4))), "resized the model's held"),
    "freezing": (losing(unfreezing), r"requires_grad changed for 0\.bias, 0\.weight: .*d with them, is fixed"),
    "numpy's random numbers": (losing(lambda t, m, i: mean(t, m, i) * np.random.rand()), "not deterministic.*numpy's"),
    "Python's random numbers": (losing(lambda t, m, i: mean(t, m, i) * random.random()), "not deterministic.*Python's"),
    "the clock": (losing(lambda t, m, i: mean(t, m, i) * time.perf_counter()), "not deterministic.*the time"),
    "a counter in Python": (losing(mean, lambda: Counting(ramp=True)), r"not deterministic.*model\.passes changed"),
    "a counter that decides later": (losing(mean, lambda: Counting(ramp=False)), r"model\.passes changes with each"),
    "parameters from data": (losing(mean, Initialising), "changed the model's bias in place.*build_model"),
    "an embedding with max_norm": (
        losing(mean, lambda: nn.Sequential(nn.Embedding(3, 2, max_norm=1.0))), "the model's 0 has max_norm",
    ),
    "a lazy module": (losing(mean, lambda: nn.LazyLinear(3)), "the model's weight has no shape yet: give lazy modules"),
    "no model": (losing(mean, lambda: None), "build_model returned None"),
    "a failing model": (losing(mean, lambda: nn.Linear("6", 3)), "build_model failed with TypeError"),
    "bfloat16": (losing(mean, lambda: nn.Linear(6, 3).bfloat16()), r"weight is torch\.bfloat16; DETOX needs float32"),
    "a counter in a dictionary": (
        remembering(lambda: {"n": 0}, lambda m: m.held.update(n=m.held["n"] + 1)), r"model\.held changes with each"),
    "a history": (remembering(lambda: [1], lambda m: m.held.append(1)), r"model\.held changes with each"),
    "a generator of its own": (
        remembering(lambda: np.random.default_rng(0), lambda m: m.held.random()), r"model\.held changes with each"),
    "an average in a list": (remembering(list, following, averaging), r"not deterministic.*: model\.held changed"),
    "an average that is not used": (remembering(list, following), r"model\.held changes with each"),
    "a hidden teacher with batch norm": (
        remembering(lambda: [nn.BatchNorm1d(6)], lambda m: m.held[0](torch.ones(2, 6))), "held changes with each"),
    "overlapping parameters": (losing(mean, sharing), r"all\.0 and all\.1 are two tensors in the same memory"),
    "a model without values": (losing(mean, lambda: nn.Linear(6, 3, device="meta")), "on the device meta"),
    "a model of inference mode": (losing(mean, lambda: without_values(lambda: nn.Linear(6, 3))), "inference_mode"),
    "a sample that is not there": (
        Slot(train_size=41, loss=lambda model, indices, generator: mean(Sound(), model, indices)), "IndexError"),
    "an error without words": (losing(lambda t, m, i: speechless()), r"with SpeechlessError, in .*test_trial\.py"),
    "a gradient that is replaced": (losing(regraded), r"replaced the model's gradient of .*torch\.autograd\.grad"),
    "a sparse buffer": (losing(mean, lambda: holding(torch.eye(3).to_sparse())), "held is sparse"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("what", FORGOTTEN)
def test_what_a_task_forgets_is_said_in_words_before_the_first_step(what):
    task, words = FORGOTTEN[what]
    with pytest.raises(TaskError, match=words):
        tried(task)


class Failing:
    def __repr__(self):
        raise KeyError

    __float__ = __repr__


METRICS = {
    "no dict": ([0.5], r'has to return a dict with a "loss", not \[0\.5\]'),
    "nothing": (None, 'a dict with a "loss", not None'),
    "no loss": ({"mae": 1.0}, 'a dict with a "loss", not {.mae.: 1.0}'),
    "an array": ({"loss": np.ones(3)}, r"loss = array\(\[1., 1., 1.\]\), a ndarray; a number is needed"),
    "a tensor of two": ({"loss": torch.ones(2)}, r"loss = tensor\(\[1., 1.\]\), a Tensor"),
    "words": ({"loss": "0.5"}, "loss = '0.5', a str"),
    "no number": ({"loss": 1.0, "f1": None}, "f1 = None, None"),
    "a complex number": ({"loss": 1j}, "loss = 1j, a complex"),
    "a complex number of numpy": ({"loss": np.complex64(1)}, "a complex64; a number"),
    "a masked number": ({"loss": np.ma.masked}, "loss = masked"),
    "what fails": ({"loss": Failing()}, "loss = a Failing that cannot be printed"),
    "what fails, in place of a dict": (Failing(), "not a Failing that cannot be printed"),
    "a name that is taken": ({"loss": 1.0, "step": 3}, "a score named 'step'"),
    "a name that is none": ({"loss": 1.0, 3: 3}, "a score named 3"),
    "a name with a line in it": ({"loss": 1.0, "a\nb": 3}, "a score named 'a.nb'"),
}


@pytest.mark.parametrize("what", METRICS)
def test_an_evaluation_that_gives_no_numbers_is_told_in_the_trial(what):
    returned, words = METRICS[what]
    with pytest.raises(TaskError, match=words):
        tried(Slot(evaluate=lambda model: returned))


def test_numbers_of_any_kind_and_any_names_are_metrics():
    found = {
        "loss": torch.tensor(0.5, requires_grad=True), "mae": np.float32(0.25), "top 5": 3, "right": np.int64(7),
        "done": True, "bleu": Fraction(1, 4), "one": np.array([2.0]), "far": float("inf"),
        "half": torch.tensor([1.5]).half(),
    }  # fmt: skip
    metrics = tried(Slot(evaluate=lambda model: found)).evaluate()
    assert metrics == {
        "loss": 0.5, "mae": 0.25, "top 5": 3.0, "right": 7.0, "done": 1.0, "bleu": 0.25, "one": 2.0,
        "far": float("inf"), "half": 1.5,
    }  # fmt: skip
    assert {type(value) for value in metrics.values()} == {float}


def test_what_a_run_can_live_with_is_a_warning():
    said = []
    tried(losing(lambda t, m, i: mean(t, m, i) * np.random.rand()), said.append, bits=False)
    tried(losing(lambda t, m, i: mean(t, m, i) * torch.tensor(float("nan"))), said.append)

    class Counted(Sound):
        calls = 0

        def loss(self, model, indices, generator):
            self.calls += 1
            return super().loss(model, indices, generator)

    tried(Counted(), said.append)
    assert ["not deterministic" in said[0], "NaN or infinity" in said[1], "Counted.calls" in said[2]] == [True] * 3
    tried(losing(mean, lambda: nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3).eval())), said.append)
    assert "build_model leaves 1 in evaluation mode" in said[3]
    assert len(said) == 4


ROUNDS = itertools.count()


def test_what_a_task_counts_anywhere_is_a_warning():
    kept, said = {"n": 0}, []

    class Curriculum(Sound):
        scale: ClassVar = [0]

        def loss(self, model, indices, generator):
            next(ROUNDS)
            self.scale[0] += 1
            self.held = {"n": getattr(self, "held", kept)["n"] + 1}
            return super().loss(model, indices, generator)

    class Enclosed(Sound):
        def loss(self, model, indices, generator):
            kept["n"] += 1
            return super().loss(model, indices, generator)

    tried(Curriculum(), said.append)
    tried(Enclosed(), said.append)
    assert "ROUNDS" in said[0]
    assert "Curriculum.scale" in said[0]
    assert "Curriculum.held" in said[0]
    assert "Enclosed.loss" in said[1]


def test_a_loss_may_change_its_indices():
    def sorting(task, model, indices):
        indices.sort()
        return mean(task, model, indices)

    model, indices = tried(losing(sorting)), np.arange(6)[::-1].copy()
    indices.flags.writeable = False
    model.compute(indices, 0)


def test_the_trial_does_not_read_the_task_s_data():
    class Mapped(np.ndarray):
        def tobytes(self, *_):
            raise AssertionError

        __repr__ = __array__ = tobytes

    tried(Slot(samples=np.zeros(3).view(Mapped)))


def test_counters_are_part_of_a_checkpoint():
    first, second = (GlobalModel(Sound(), seed=seed, steps=9) for seed in (0, 1))
    assert list(steps(first, 4)) == [1, 2, 3, 4]
    second.restore(first.state())
    assert second.module[1].num_batches_tracked == 4
    assert list(steps(first, 2)) == list(steps(second, 2))
    assert second.digest == first.digest
    assert second.module[1].num_batches_tracked == 6


def test_signs_refuse_what_has_no_sign():
    with pytest.raises(TaskError, match="signs cannot say so"):
        tried(losing(lambda t, m, i: mean(t, m, i) * torch.tensor(float("nan"))), signs=True)
    with pytest.raises(TaskError, match="does not reach 5 of the model's parameters"):
        tried(losing(lambda t, m, i: m[3].weight.sum()), signs=True)


def test_a_parameter_has_no_gradient_where_more_than_all_but_f_votes_say_so():
    model = GlobalModel(Sound(), seed=0, steps=9)
    none, some = np.full(model.d + model.b, -0.0, np.float32), np.zeros(model.d + model.b, np.float32)
    everyone = [0, 1, 2, 3, 4, 5]
    partly = none.copy()
    partly[5] = 0.0
    assert model.without_gradient(np.stack([none, none, none]), 0) == everyone
    assert model.without_gradient(np.stack([none, some, none]), 0) == []
    assert model.without_gradient(np.stack([none, some, none]), 1) == everyone
    assert model.without_gradient(np.stack([none, some, some]), 1) == []
    assert model.without_gradient(np.stack([none, partly]), 0) == everyone[1:]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64", "float32"])
def test_exact_buffers_agree_on_a_value_among_the_honest_ones_whatever_others_say(dtype):
    rng = np.random.default_rng(3)
    votes = (rng.normal(size=(7, 5)) * 100).clip(-120, 120).astype(dtype)
    if dtype == "float32":
        votes[:, 0] = np.inf

    class Holding(Sound):
        def __init__(self, vote):
            super().__init__()
            self.vote = vote

        def build_model(self):
            module = holding(torch.from_numpy(self.vote.copy()))
            module.register_buffer("odd", torch.tensor([1, 0, 1], dtype=torch.int16))
            return module

    models = [GlobalModel(Holding(vote), seed=0, steps=9) for vote in votes]
    model, rows = models[0], [model.weights[model.d :].copy() for model in models]
    held = model.module.held
    for sent in (1e30, -1e30, 12345.5):
        rows[2] = rows[5] = np.full(model.b, sent, np.float32)
        model.apply(np.zeros(model.d, np.float32), model.agree(np.stack(rows), 2))
        honest = np.sort(votes[[0, 1, 3, 4, 6]], axis=0)
        assert (honest[0] <= held.numpy()).all()
        assert (held.numpy() <= honest[-1]).all()
        assert model.module.odd.tolist() == [1, 0, 1]
