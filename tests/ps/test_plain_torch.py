"""One worker is plain torch: the same weights, to the bit, whatever the kind of model."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver
from torch.autograd import Function
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint

from detox.ps.model import GlobalModel
from detox.tasks import FlatModel, Task

STEPS = 8
OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    "AdamW": {"lr": 0.01, "weight_decay": 0.1},
}


class Of(nn.Module):
    """Modules, and what is computed with them."""

    def __init__(self, forward, **members):
        super().__init__()
        self._compute = forward
        for name, member in members.items():
            if isinstance(member, torch.Tensor) and not isinstance(member, nn.Parameter):
                self.register_buffer(name, member)
            else:
                setattr(self, name, member)

    def forward(self, x):
        return self._compute(self, x)


def _words(x):
    return (x.abs() * 3).long() % 7


def _recurrent(kind):
    return Of(
        lambda m, x: m.head(m.cell(x.view(-1, 3, 2))[0][:, -1]), cell=kind(2, 5, batch_first=True), head=nn.Linear(5, 3)
    )


def _transformer():
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True)
    return Of(
        lambda m, x: m.head(m.encoder(m.embed(_words(x))).mean(1)),
        embed=nn.Embedding(7, 4), head=nn.Linear(4, 3),
        encoder=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
    )  # fmt: skip


def _attention():
    def forward(m, x):
        y = m.embed(_words(x))
        return m.head(m.attention(y, y, y, attn_mask=m.mask)[0].sum(1))

    mask = torch.triu(torch.full((6, 6), float("-inf")), 1)
    return Of(forward, embed=nn.Embedding(7, 4), attention=nn.MultiheadAttention(4, 2, batch_first=True),
              mask=mask, head=nn.Linear(4, 3))  # fmt: skip


def _tied():
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.Linear(6, 3))


def _one_module_twice():
    layer = nn.Linear(6, 6)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(6, 3))


def _frozen():
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    module[0].requires_grad_(False)
    return module


def _teacher():
    """A frozen part that follows the trained one, as in BYOL."""

    def forward(m, x):
        with torch.no_grad():
            m.teacher.weight.mul_(0.9).add_(m.student.weight, alpha=0.1)
        return m.student(x) - 0.5 * m.teacher(x)

    return Of(forward, student=nn.Linear(6, 3, bias=False), teacher=nn.Linear(6, 3, bias=False).requires_grad_(False))


def _non_contiguous():
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    module[0].weight = nn.Parameter(torch.randn(6, 8).t())
    return module


def _checkpointed():
    part = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.2), nn.Tanh())
    return Of(lambda m, x: m.head(checkpoint(m.part, x, use_reentrant=False)), part=part, head=nn.Linear(6, 3))


def _scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)))


def _compiled():
    return torch.compile(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)))


def _convolution(norm, memory_format=torch.contiguous_format):
    def forward(m, x):
        y = functional.pad(x.view(-1, 1, 2, 3), (1, 1, 1, 1)).contiguous(memory_format=memory_format)
        return m.head(m.norm(m.conv(y)).relu().flatten(1))

    return Of(forward, conv=nn.Conv2d(1, 4, 2), norm=norm, head=nn.Linear(48, 3)).to(memory_format=memory_format)


def _warming_up():
    """Counts its passes in an integer buffer, and what it does depends on the count."""

    def forward(m, x):
        m.passes += 1
        return m.head(x) * torch.clamp(m.passes / 5, max=1.0)

    return Of(forward, passes=torch.tensor(0), head=nn.Linear(6, 3))


def _counting_far():
    """As the last, beyond what float32 can count."""

    def forward(m, x):
        m.passes += 1
        return m.head(x) * (m.passes - 2**53) / 5

    return Of(forward, passes=torch.tensor(2**53), head=nn.Linear(6, 3))


def _switching():
    """A boolean buffer that is set in the first pass, with what it guards: an initialisation from data."""

    def forward(m, x):
        if not m.initialised:
            m.mean.copy_(x.mean(0))
            m.initialised.fill_(True)
        return m.head(x - m.mean)

    return Of(forward, initialised=torch.tensor(False), mean=torch.zeros(6), head=nn.Linear(6, 3))


def _narrow_integers():
    def forward(m, x):
        m.small += 1
        m.histogram[_words(x).view(-1) % 4] += 1
        return m.head(x) * (1 + m.small.float() / 10) + m.histogram.float().mean() / 100

    return Of(forward, small=torch.tensor([250], dtype=torch.uint8), histogram=torch.zeros(4, dtype=torch.int32),
              head=nn.Linear(6, 3))  # fmt: skip


def _observed():
    """Quantisation-aware: the observer starts from infinities and has integer buffers."""
    fake = FakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255)
    return nn.Sequential(nn.Linear(6, 5), fake, nn.ReLU(), nn.Linear(5, 3))


def _unused(where="behind"):
    head, unused = nn.Linear(6, 3), nn.Linear(6, 2)
    members = {"head": head, "unused": unused} if where == "behind" else {"unused": unused, "head": head}
    return Of(lambda m, x: m.head(x), **members)


def _sometimes_unused():
    """Layers left out at random: stochastic depth."""

    def forward(m, x):
        for layer in m.layers:
            if torch.rand(()) < 0.5:
                x = x + layer(x).tanh()
        return m.head(x)

    return Of(forward, layers=nn.ModuleList(nn.Linear(6, 6) for _ in range(4)), head=nn.Linear(6, 3))


def _later_used():
    """A layer that is trained from the fourth pass on, by detaching."""

    def forward(m, x):
        m.passes += 1
        y = m.first(x)
        return m.head(y if m.passes > 3 else y.detach())

    return Of(forward, passes=torch.tensor(0), first=nn.Linear(6, 6), head=nn.Linear(6, 3))


class _Clipped(Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(-0.01, 0.01)


def _hooked():
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    module[0].weight.register_hook(lambda gradient: gradient * 0.5)
    module[2].register_full_backward_hook(lambda _m, into, _out: tuple(g if g is None else 2 * g for g in into))
    return module


def _pruned():
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    prune.l1_unstructured(module[0], "weight", amount=0.4)
    return module


class _Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).t()


def _parametrized():
    module = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    parametrize.register_parametrization(module[0], "weight", _Symmetric())
    return module


def _old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 5)), nn.utils.spectral_norm(nn.Linear(5, 3)))


def _not_persistent():
    module = Of(lambda m, x: m.head(x * m.scale), head=nn.Linear(6, 3))
    module.register_buffer("scale", torch.linspace(1, 2, 6), persistent=False)
    return module


def _aliased():
    """Keeps views of its parameters as plain attributes, one with a graph."""
    module = Of(lambda m, x: x @ m.turned + m.listed[0], head=nn.Linear(6, 3))
    module.turned, module.listed = module.head.weight.t(), [module.head.bias.detach()]
    return module


def _half_shared():
    """Two parameters, side by side in one matrix."""
    whole = torch.randn(6, 6)
    return Of(lambda m, x: x @ m.a @ m.b.t() @ m.a, a=nn.Parameter(whole[:, :3]), b=nn.Parameter(whole[:, 3:]))


def _instance_norm():
    return _convolution(nn.InstanceNorm2d(4, affine=True, track_running_stats=True))


def _sequence(*middle):
    return nn.Sequential(nn.Linear(6, 8), *middle, nn.Linear(8, 3))


KINDS = {
    "LSTM": lambda: _recurrent(nn.LSTM),
    "GRU": lambda: _recurrent(nn.GRU),
    "transformer": _transformer,
    "attention with a mask of infinities": _attention,
    "tied": _tied,
    "one module twice": _one_module_twice,
    "frozen": _frozen,
    "frozen and following": _teacher,
    "non-contiguous": _non_contiguous,
    "checkpointed": _checkpointed,
    "scripted": _scripted,
    "spectral norm": lambda: _sequence(parametrizations.spectral_norm(nn.Linear(8, 8))),
    "weight norm": lambda: _sequence(parametrizations.weight_norm(nn.Linear(8, 8))),
    "norms of the old kind": _old_weight_norm,
    "orthogonal": lambda: _sequence(parametrizations.orthogonal(nn.Linear(8, 8))),
    "parametrized": _parametrized,
    "pruned": _pruned,
    "batch norm": lambda: _sequence(nn.BatchNorm1d(8)),
    "cumulative batch norm": lambda: _sequence(nn.BatchNorm1d(8, momentum=None)),
    "batch norm without statistics": lambda: _sequence(nn.BatchNorm1d(8, track_running_stats=False)),
    "group norm": lambda: _convolution(nn.GroupNorm(2, 4)),
    "layer norm": lambda: _sequence(nn.LayerNorm(8), nn.GELU()),
    "instance norm with statistics": _instance_norm,
    "dropout": lambda: _sequence(nn.ReLU(), nn.Dropout(0.3)),
    "random leaks": lambda: _sequence(nn.RReLU()),
    "PReLU": lambda: _sequence(nn.PReLU(8)),
    "warming up by a counter": _warming_up,
    "counting beyond 2^53": _counting_far,
    "initialised by data": _switching,
    "narrow integers": _narrow_integers,
    "quantisation-aware": _observed,
    "unused parameters": _unused,
    "unused parameters in front": lambda: _unused("in front"),
    "stochastic depth": _sometimes_unused,
    "trained later": _later_used,
    "own autograd function": lambda: Of(
        lambda m, x: m.head(_Clipped.apply(m.body(x))), body=nn.Linear(6, 6), head=nn.Linear(6, 3)
    ),
    "gradient hooks": _hooked,
    "parameter dict and list": lambda: Of(
        lambda m, x: x @ m.named["w"] + m.listed[0],
        named=nn.ParameterDict({"w": nn.Parameter(torch.randn(6, 3))}),
        listed=nn.ParameterList([nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(2))]),
    ),
    "buffers that are not persistent": _not_persistent,
    "scalar and empty parameters": lambda: Of(
        lambda m, x: m.head(x) * m.scale, scale=nn.Parameter(torch.tensor(2.0)), empty=nn.Parameter(torch.empty(0)),
        head=nn.Linear(6, 3),
    ),
    "views of parameters": _aliased,
    "parameters side by side": _half_shared,
    "bilinear and cosine": lambda: Of(lambda m, x: functional.normalize(m.a(x, x), dim=1), a=nn.Bilinear(6, 6, 3)),
}  # fmt: skip

ROUNDED = {
    "channels last": lambda: _convolution(nn.BatchNorm2d(4), torch.channels_last),
    "sparse embedding": lambda: Of(
        lambda m, x: m.head(m.embed(_words(x)).sum(1)), embed=nn.Embedding(7, 4, sparse=True), head=nn.Linear(4, 3)
    ),
}
"""Kinds that torch computes in another order on a flat vector: equal within rounding."""

SLOW = {"compiled": _compiled}


class Toy(Task):
    train_size, device = 40, torch.device("cpu")

    def __init__(self, build):
        generator = torch.Generator().manual_seed(0)
        self.build_model = build
        self.x = torch.randn((40, 6), generator=generator)
        self.y = torch.randint(0, 3, (40,), generator=generator)

    build_model = None

    def loss(self, model, indices, generator):
        return functional.cross_entropy(model(self.x[indices]), self.y[indices])

    def evaluate(self, model):
        return {"loss": functional.cross_entropy(model(self.x), self.y)}


def file(step):
    return np.random.default_rng(step).permutation(40)[:12], 100 + step


def plain(task, optimizer, arguments):
    """The definition: a training loop in torch."""
    torch.manual_seed(0)
    module = task.build_model()
    chosen = getattr(torch.optim, optimizer)(module.parameters(), **arguments)
    for step in range(STEPS):
        indices, seed = file(step)
        chosen.zero_grad()
        torch.manual_seed(seed)
        task.loss(module, indices, torch.Generator().manual_seed(seed)).backward()
        chosen.step()
    return module


def distributed(task, optimizer, arguments):
    """What PS and worker do in a step with one vote, without the messages."""
    model = GlobalModel(task, seed=0, steps=STEPS, optimizer=optimizer, arguments=arguments)
    worker = FlatModel.build(task, 1)
    for step in range(STEPS):
        worker.load(model.weights.copy())
        votes = worker.compute(task, *file(step))[None]
        buffers = model.agree(votes[:, model.d :], 0) if model.b else None
        model.apply(votes[0, : model.d], buffers, model.without_gradient(votes, 0))
    return model.module


def tensors(module):
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_worker_trains_what_plain_torch_trains_to_the_bit(kind, optimizer):
    task = Toy(KINDS[kind])
    ours, theirs = (train(task, optimizer, OPTIMIZERS[optimizer]) for train in (distributed, plain))
    expected = tensors(theirs)
    assert tensors(ours).keys() == expected.keys()
    # Of a flat vector all parameters are contiguous, and products of other layouts are other kernels' under MKL_CBWR.
    equal = partial(torch.allclose, rtol=1e-5) if kind == "non-contiguous" else torch.equal
    assert [name for name, tensor in tensors(ours).items() if not equal(tensor, expected[name])] == []


def test_a_loss_may_clear_the_gradients():
    class Clearing(Toy):
        def loss(self, model, indices, generator):
            (0.5 * super().loss(model, indices, generator)).backward()
            model.zero_grad()
            return super().loss(model, indices, generator)

    task, arguments = Clearing(KINDS["unused parameters"]), OPTIMIZERS["SGD"]
    ours, theirs = (tensors(train(task, "SGD", arguments)) for train in (distributed, plain))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("kind", ROUNDED)
def test_what_torch_sums_in_another_order_is_equal_within_rounding(kind):
    task, arguments = Toy(ROUNDED[kind]), {"lr": 0.1, "momentum": 0.9}
    expected = tensors(plain(task, "SGD", arguments))
    for name, tensor in tensors(distributed(task, "SGD", arguments)).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what torch.compile imports
@pytest.mark.parametrize("kind", SLOW)
def test_a_compiled_model_trains_as_in_plain_torch(kind):
    task, arguments = Toy(SLOW[kind]), {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    expected = tensors(plain(task, "SGD", arguments))
    for name, tensor in tensors(distributed(task, "SGD", arguments)).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)
