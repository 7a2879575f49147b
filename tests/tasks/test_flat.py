import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from detox.tasks import MODELS, FlatModel, Task, TaskError
from detox.tasks.classification import Classification, Images
from detox.tasks.computing import Computing


class Toy(Task):
    """Random images; the loss also draws from the generator and from dropout."""

    device = torch.device("cpu")
    train_size = 40

    def __init__(self, build):
        generator = torch.Generator().manual_seed(0)
        self.build = build
        self.x = torch.randn((40, 3, 16, 16), generator=generator)
        self.y = torch.randint(0, 4, (40,), generator=generator)

    def build_model(self):
        torch.manual_seed(1)
        return self.build()

    def loss(self, model, indices, generator):
        x = self.x[indices]
        return cross_entropy(model(x + 0.1 * torch.randn(x.shape, generator=generator)), self.y[indices])

    def evaluate(self, model):
        raise AssertionError("not called")


def _with_batch_norm():
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(980, 4)
    )


def _with_cumulative_batch_norm():
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, momentum=None), nn.Flatten(), nn.Linear(980, 4))


TOYS = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 4)),
    "batch norm": _with_batch_norm,
    "batch norm that counts": _with_cumulative_batch_norm,
    "lenet": lambda: MODELS["lenet"]((3, 16, 16), 4),
    "resnet18": lambda: MODELS["resnet18"]((3, 16, 16), 4),
}


def _naive(task, indices, seed):
    """The definition, on an ordinary module: autograd's gradients, float buffers, then four words a small counter."""
    module = task.build_model()
    torch.manual_seed(seed)
    loss = task.loss(module, indices, torch.Generator().manual_seed(seed))
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    floats = [b for b in module.buffers() if b.is_floating_point()]
    words = [torch.tensor([int(b) & 0xFFFF, 0, 0, 0]) for b in module.buffers() if not b.is_floating_point()]
    return torch.cat([t.detach().reshape(-1).float() for t in [*gradients, *floats, *words]]).numpy()


@pytest.fixture(params=[None, 512], ids=["dense", "aligned"])
def alignment(request):
    """How a model's tensors lie on a CPU, and on a GPU."""
    return request.param


@pytest.mark.parametrize("name", TOYS)
def test_the_vector_is_autograds_gradient_and_then_the_new_buffers(name, alignment):
    task = Toy(TOYS[name])
    model = FlatModel(task.build_model(), alignment=alignment)
    indices = np.arange(12)
    vector = model.compute(task, indices, seed=5)
    assert vector.dtype == np.float32
    assert vector.shape == (model.d + model.b,)
    assert np.allclose(vector, _naive(task, indices, 5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TOYS)
def test_bits_do_not_depend_on_what_was_computed_before(name):
    task = Toy(TOYS[name])
    model = FlatModel(task.build_model())
    weights = model.weights.numpy().copy()
    first = model.compute(task, np.arange(12), seed=5)
    model.compute(task, np.arange(20, 40), seed=6)
    assert np.array_equal(model.weights.numpy(), weights)
    torch.rand(7)
    assert model.compute(task, np.arange(12), seed=5).tobytes() == first.tobytes()
    other = FlatModel(task.build_model())
    other.load(np.zeros_like(weights))
    other.load(weights)
    assert other.compute(task, np.arange(12), seed=5).tobytes() == first.tobytes()


def test_the_result_is_not_a_view_of_the_model():
    task = Toy(TOYS["linear"])
    model = FlatModel(task.build_model())
    first = model.compute(task, np.arange(12), seed=5)
    kept = first.copy()
    model.compute(task, np.arange(20, 40), seed=6)
    assert np.array_equal(first, kept)


def test_the_seed_decides_augmentation_and_dropout():
    task = Toy(_with_batch_norm)
    model = FlatModel(task.build_model())
    assert not np.array_equal(model.compute(task, np.arange(12), 5), model.compute(task, np.arange(12), 6))


def test_writing_the_vector_changes_the_module(alignment):
    task = Toy(_with_batch_norm)
    flat, plain = FlatModel(task.build_model(), alignment=alignment), task.build_model().eval()
    flat.module.eval()
    assert torch.equal(flat.module(task.x), plain(task.x))
    flat.load(np.zeros(flat.d + flat.b, np.float32))
    assert torch.equal(flat.module(task.x), torch.zeros(40, 4))


def test_an_optimizer_on_the_modules_own_parameters_sees_the_flat_gradient(alignment):
    task = Toy(TOYS["lenet"])
    flat = FlatModel(task.build_model(), alignment=alignment)
    before = flat.weights.clone()
    optimizer = torch.optim.SGD(flat.module.parameters(), lr=0.5)
    flat.gradient.write(torch.arange(flat.d))
    optimizer.step()
    assert torch.allclose(flat.weights, before - 0.5 * torch.arange(flat.d))


def test_buffers_and_frozen_parameters_travel_behind_the_parameters():
    module = _with_batch_norm()
    module[5].weight.requires_grad_(False)
    model = FlatModel(module)
    assert model.d == 5 * 27 + 5 + 5 + 5 + 4
    assert (model.b, model.words) == (4 * 980 + 5 + 5 + 4, 4)
    assert model.weights[model.d : model.d + 3920].data_ptr() == module[5].weight.data_ptr()


@pytest.mark.parametrize("name", TOYS)
def test_on_a_gpu_each_tensor_begins_where_one_of_its_own_would(name):
    module = TOYS[name]()
    FlatModel(module, alignment=512)
    weights = [*module.parameters(), *(buffer for buffer in module.buffers() if buffer.is_floating_point())]
    for tensors in (weights, [p.grad for p in module.parameters()]):
        assert {(tensor.data_ptr() - tensors[0].data_ptr()) % 512 for tensor in tensors} == {0}


def test_a_tied_parameter_is_one_parameter():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 6, bias=False)
            self.b = nn.Linear(6, 6, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    model = FlatModel(Tied())
    assert model.d == 36
    assert model.module.a.weight.data_ptr() == model.module.b.weight.data_ptr() == model.weights.data_ptr()


def _linear_with(**buffers):
    module = nn.Linear(2, 2)
    for name, buffer in buffers.items():
        module.register_buffer(name, buffer)
    return module


def _sharing_memory():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight.data = module[0].weight.data
    return module


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: nn.Linear(2, 2).double(), r"weight is torch\.float64; DETOX needs float32: call float\(\) .*model$"),
        (lambda: nn.Linear(2, 2).bfloat16(), r'weight is torch\.bfloat16; .*; autocast = "bf16" computes in bfloat16$'),
        (lambda: _linear_with(mean=torch.zeros(2, dtype=torch.float16)), r"mean is torch\.float16"),
        (lambda: _linear_with(phase=torch.zeros(2, dtype=torch.complex64)), r"phase is torch\.complex64"),
        (lambda: _linear_with(mean=torch.zeros(2, device="meta")), "mean is on meta, the rest on cpu"),
        (lambda: nn.Linear(2, 2).requires_grad_(False), "no parameter to train"),
        (_sharing_memory, r"0\.weight and 1\.weight are two tensors in the same memory"),
    ],
)
def test_a_model_that_cannot_be_flat_is_refused_in_words(build, words):
    with pytest.raises(TaskError, match=words):
        FlatModel(build())


def test_integer_buffers_travel_behind_everything_as_words_of_sixteen_bits():
    model = FlatModel(_linear_with(count=torch.tensor([3, 2**40 - 1])))
    assert (model.d, model.b, model.words) == (6, 8, 8)
    assert model.module.count.tolist() == [3, 2**40 - 1]
    assert model.weights[6:].tolist() == [3, 0, 0, 0, -1, -1, 255, 0]
    model.load(np.array([0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 1, 0], np.float32))
    assert model.module.count.tolist() == [7, 2**32 + 1]


def _replace_buffer(module):
    module.mean = module.mean * 0.9


def _replace_gradient(model):
    model.bias.grad = torch.zeros_like(model.bias)


def _replace_parameter(module):
    module.weight.data = module.weight.data.clone()


@pytest.mark.parametrize(
    ("replace", "name"),
    [(_replace_buffer, "mean"), (_replace_parameter, "weight"), (_replace_gradient, "gradient of bias")],
)
def test_a_loss_that_replaces_a_tensor_of_the_model_is_told_so(replace, name):
    class Replacing(Toy):
        def loss(self, model, indices, generator):
            loss = model(torch.ones(2)).sum()
            replace(model)
            return loss

    task = Replacing(lambda: _linear_with(mean=torch.ones(2)))
    model = FlatModel(task.build_model())
    with pytest.raises(TaskError, match=f"replaced the model's {name} by another tensor"):
        model.compute(task, np.arange(2), 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", ["mlp", "lenet", "resnet18", "vgg13"])
def test_a_gpu_gives_equal_bits_every_time(name, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (40, 3, 32, 32), np.uint8), rng.integers(0, 10, 40)
    images = Images(pixels, labels, pixels, labels, 10, augment=True)
    task = Classification(images, MODELS[name], torch.device("cuda"))
    torch.use_deterministic_algorithms(True)
    try:
        model = FlatModel(task.build_model())
        first = model.compute(task, np.arange(30), seed=1)
        model.compute(task, np.arange(10, 40), seed=2)
        assert model.compute(task, np.arange(30), seed=1).tobytes() == first.tobytes()
    finally:
        torch.use_deterministic_algorithms(False)


def _accumulated(task, indices, seed, size):
    """The definition, in plain torch: a loss for each piece, weighted by its samples, and their gradients summed."""
    module = task.build_model()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    for begin in range(0, len(indices), size):
        piece = indices[begin : begin + size]
        (task.loss(module, piece, generator) * (len(piece) / len(indices))).backward()
    floats = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    words = [torch.tensor([int(b) & 0xFFFF, 0, 0, 0]) for b in module.buffers() if not b.is_floating_point()]
    parts = [*(p.grad for p in module.parameters()), *floats, *words]
    return torch.cat([part.detach().reshape(-1).float() for part in parts]).numpy()


@pytest.mark.parametrize("size", [1, 3, 5, 12, 99])
@pytest.mark.parametrize("name", ["linear", "batch norm"])
def test_micro_batches_are_gradient_accumulation_in_plain_torch_to_the_bit(name, size):
    task = Toy(TOYS[name])
    if name == "batch norm" and size == 5:
        size = 4
    model = FlatModel(task.build_model(), Computing(size))
    vector = model.compute(task, np.arange(12), seed=5)
    assert vector.tobytes() == _accumulated(task, np.arange(12), 5, size).tobytes()
    assert vector.tobytes() == model.compute(task, np.arange(12), seed=5).tobytes()
    whole = FlatModel(task.build_model()).compute(task, np.arange(12), seed=5)
    assert (vector.tobytes() == whole.tobytes()) == (size >= 12)


def test_a_file_in_micro_batches_has_the_gradient_of_the_whole():
    class Plain(Toy):
        def loss(self, model, indices, generator):
            return cross_entropy(model(self.x[indices]), self.y[indices])

    task = Plain(TOYS["linear"])
    whole = FlatModel(task.build_model()).compute(task, np.arange(12), seed=5)
    pieces = FlatModel(task.build_model(), Computing(5)).compute(task, np.arange(12), seed=5)
    np.testing.assert_allclose(pieces, whole, rtol=1e-4, atol=1e-7)


def test_a_loss_that_clears_gradients_clears_those_of_its_micro_batch_alone():
    class Clearing(Toy):
        def loss(self, model, indices, generator):
            model.zero_grad()
            return super().loss(model, indices, generator)

    plain, clearing = Toy(TOYS["linear"]), Clearing(TOYS["linear"])
    vectors = [FlatModel(t.build_model(), Computing(4)).compute(t, np.arange(12), seed=5) for t in (plain, clearing)]
    assert vectors[0].tobytes() == vectors[1].tobytes()


def test_a_parameter_that_one_micro_batch_reaches_has_a_gradient():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(768, 4), nn.Linear(768, 4)
            self.never = nn.Parameter(torch.ones(3))

    class Some(Toy):
        def loss(self, model, indices, generator):
            part = model.a if 0 in indices else model.b
            return cross_entropy(part(self.x[indices].flatten(1)), self.y[indices])

    task = Some(Twice)
    model = FlatModel(task.build_model(), Computing(6))
    vector = model.compute(task, np.arange(12), seed=5)
    assert model.without_gradient(vector[None], 0) == [0]
    assert np.count_nonzero(vector) > 6000


def test_autocast_computes_in_bfloat16_as_in_plain_torch_and_gives_float32():
    seen = []

    class Watching(Toy):
        def loss(self, model, indices, generator):
            scores = model(self.x[indices])
            seen.append(scores.dtype)
            return cross_entropy(scores, self.y[indices])

    task = Watching(TOYS["lenet"])
    vector = FlatModel(task.build_model(), Computing(autocast=True)).compute(task, np.arange(12), seed=5)
    module = task.build_model()
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.loss(module, np.arange(12), None)
    loss.backward()
    expected = torch.cat([p.grad.reshape(-1) for p in module.parameters()])
    assert seen == [torch.bfloat16] * 2
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, expected.numpy(), rtol=1e-2, atol=1e-3)
    plain = FlatModel(task.build_model()).compute(task, np.arange(12), seed=5)
    assert seen[-1] == torch.float32
    assert vector.tobytes() != plain.tobytes()
