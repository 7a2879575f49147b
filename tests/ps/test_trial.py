"""What a task forgets is said before the first step, and neither trial nor evaluation changes a bit."""

import itertools
import random
import time
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
import torch
from sound import FILES, Sound, everything, holding, tried
from torch import nn
from torch.nn import functional
from torch.nn.functional import cross_entropy, embedding

from detox.ps.model import GlobalModel
from detox.ps.trial import try_out
from detox.tasks import TaskError
from detox.tasks.computing import Computing
from detox.tasks.samples import Files


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


def test_signs_refuse_what_has_no_sign():
    with pytest.raises(TaskError, match="signs cannot say so"):
        tried(losing(lambda t, m, i: mean(t, m, i) * torch.tensor(float("nan"))), signs=True)
    with pytest.raises(TaskError, match="does not reach 5 of the model's parameters"):
        tried(losing(lambda t, m, i: m[3].weight.sum()), signs=True)


def test_bits_that_depend_on_the_file_beside_are_refused():
    class Remembering(Sound):
        last = 0.0

        def build_model(self):
            return nn.Linear(6, 3)

        def batch(self, indices, generator):
            before, self.last = self.last, float(indices[0])
            return self.x[indices] + before, self.y[indices]

        def batch_loss(self, model, *batch):
            return cross_entropy(model(batch[0]), batch[1])

    model = GlobalModel(Remembering(), seed=0, steps=9, computing=Computing(batched=True))
    model.compute(FILES.draw(1)[0], 0)
    with pytest.raises(TaskError, match="other bits beside another file than alone"):
        try_out(Remembering(), model, Files(2, 6, 40, 0), bits=True, signs=False, warn=print)
    said = []
    with pytest.raises(TaskError, match="the gradient of `batch_loss` is"):  # this task's is wrong besides
        try_out(Remembering(), model, Files(2, 6, 40, 0), bits=False, signs=False, warn=said.append)
    assert any("other bits beside another file than alone" in line for line in said)


class Told(Sound):
    """A batched task, of which `loss` and `batch_loss` are the test's."""

    def __init__(self, build=lambda: nn.Linear(6, 3), factor=1.0):
        super().__init__()
        self.build, self.factor = build, factor

    def build_model(self):
        return self.build()

    def batch(self, indices, generator):
        return self.x[indices], self.y[indices]

    def batch_loss(self, model, *batch):
        return self.factor * cross_entropy(model(batch[0]), batch[1])


class Listing(nn.Module):
    """Holds a weight in a list too, which is where it finds it."""

    def __init__(self, also):
        super().__init__()
        self.lin = nn.Linear(6, 3)
        self.listed, self.also = [self.lin.weight], also

    def forward(self, x):
        found = functional.linear(x, self.listed[0], self.lin.bias)
        return found + self.lin(x) if self.also else found


def tried_batched(task, autocast=False, **options):
    model = GlobalModel(task, seed=0, steps=9, computing=Computing(autocast=autocast, batched=True))
    try_out(task, model, FILES, **{"bits": True, "signs": False, "warn": pytest.fail, **options})


@pytest.mark.parametrize("autocast", [False, True])
def test_a_batched_task_whose_two_losses_are_one_passes(autocast):
    tried_batched(Told(lambda: nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))), autocast)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Told(lambda: Listing(also=False)), "the loss reaches lin.weight in one of"),
        (Told(lambda: Listing(also=True)), "the gradient of `batch_loss` is"),
        (Told(factor=-1.0), "the gradient of `batch_loss` is"),
        (Told(factor=1.01), "the gradient of `batch_loss` is"),
    ],
)
@pytest.mark.parametrize("bits", [True, False])
def test_a_batched_gradient_that_is_not_that_of_the_loss_is_refused(task, said, bits):
    with pytest.raises(TaskError, match=said):
        tried_batched(task, bits=bits)
