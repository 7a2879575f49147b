"""What a run leaves of a model is what plain torch loads."""

import copy
import resource

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from detox.ps.model import GlobalModel
from detox.ps.weights import WeightsError, read_facts, read_weights, write_weights
from detox.tasks import Task
from detox.tasks.named import load_named, named_tensors


class Of(Task):
    """A task of any model, which is never computed."""

    train_size, device = 10, torch.device("cpu")

    def __init__(self, build):
        self.build = build

    def build_model(self):
        return self.build()

    def loss(self, model, indices, generator):
        raise AssertionError

    def evaluate(self, model):
        raise AssertionError


class Words(nn.Module):
    """A tied embedding, a mask of infinities, a scratch buffer that is not persistent, counters of several kinds."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)
        self.head.weight = self.embed.weight
        self.register_buffer("mask", torch.triu(torch.full((3, 3), float("-inf")), 1))
        self.register_buffer("scratch", torch.ones(2), persistent=False)
        self.register_buffer("small", torch.tensor([250, 3], dtype=torch.uint8))
        self.register_buffer("flag", torch.tensor(True))
        self.empty = nn.Parameter(torch.empty(0))


def _turned():
    module = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    module[0].weight = nn.Parameter(torch.randn(3, 5).t())
    return module


BUILDS = {
    "tied": Words,
    "not contiguous, batch norm": _turned,
    "frozen": lambda: nn.Sequential(nn.Linear(3, 3).requires_grad_(False), nn.Linear(3, 1)),
    "parametrized": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))),
    "recurrent": lambda: nn.LSTM(2, 3),
}


def trained(build):
    """A model after a step that moved all of it."""
    model = GlobalModel(Of(build), seed=1, steps=3)
    model.apply(np.linspace(1, 2, model.d, dtype=np.float32), np.arange(model.b, dtype=np.float32) % 100)
    return model


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize("kind", BUILDS)
def test_plain_torch_loads_the_files_by_the_modules_own_names(tmp_path, kind, ending):
    model = trained(BUILDS[kind])
    write_weights(tmp_path / "model", model.named(), {"step": "1"})
    plain = BUILDS[kind]()
    path = tmp_path / f"model{ending}"
    tensors = load_file(path) if ending == ".safetensors" else torch.load(path, weights_only=True)
    plain.load_state_dict(tensors)
    ours, theirs = model.module.state_dict(), plain.state_dict()
    assert ours.keys() == theirs.keys() == tensors.keys()
    for name, tensor in theirs.items():
        assert (tensor.dtype, tensor.shape) == (ours[name].dtype, ours[name].shape)
        assert torch.equal(tensor, ours[name])
    assert read_facts(tmp_path / "model.safetensors") == {"format": "pt", "step": "1"}


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize("kind", BUILDS)
def test_a_model_starts_from_a_file_in_its_vector_too(tmp_path, kind, ending):
    first, second = trained(BUILDS[kind]), GlobalModel(Of(BUILDS[kind]), seed=2, steps=3)
    write_weights(tmp_path / "model", first.named(), {})
    second.start_from(read_weights(tmp_path / f"model{ending}"))
    for name, tensor in second.named().items():
        assert torch.equal(tensor, first.named()[name])
    persistent = torch.cat([tensor.reshape(-1).float() for tensor in second.module.state_dict().values()])
    copied = copy.deepcopy(second.weights)
    second.load(copied)  # what travels is what was loaded
    again = torch.cat([tensor.reshape(-1).float() for tensor in second.module.state_dict().values()])
    assert torch.equal(persistent, again)


def test_weights_of_a_lower_precision_and_without_names_of_ties_can_be_started_from(tmp_path):
    given = named_tensors(Words())
    del given["head.weight"]
    save_file(
        {name: t.bfloat16() if t.is_floating_point() else t for name, t in given.items()}, tmp_path / "x.safetensors"
    )
    module = Words()
    load_named(module, read_weights(tmp_path / "x.safetensors"))
    assert torch.equal(module.head.weight, given["embed.weight"].bfloat16().float())
    assert module.head.weight is module.embed.weight


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"head.bias": None}, "lacks head.bias"),
        ({"embed.weight": None, "head.weight": None}, "lacks embed.weight"),
        ({"gate": torch.ones(1)}, "has gate, which the model has not"),
        ({"head.bias": torch.ones(5)}, r"has head.bias, float32 \(5,\) where the model has float32 \(7,\)"),
        ({"small": torch.ones(2)}, r"has small, float32 \(2,\) where the model has uint8 \(2,\)"),
        ({"mask": torch.ones(3, 3).int()}, r"has mask, int32"),
        ({"c": torch.ones(1), "b": torch.ones(1), "a": torch.ones(1), "e": torch.ones(1), "d": torch.ones(1)},
         "has a, b, c and 2 more, which the model has not"),
        ({"flag": None, "gate": torch.ones(1)}, "lacks flag; has gate, which"),
    ],
)  # fmt: skip
def test_names_that_are_missing_unknown_or_of_another_shape_are_told(change, words):
    module = Words()
    before = named_tensors(module)
    given = {name: t for name, t in ({n: t + 1 if n == "head.bias" else t for n, t in before.items()} | change).items()
             if t is not None}  # fmt: skip
    with pytest.raises(ValueError, match=f"^{words}"):
        load_named(module, given)
    assert torch.equal(module.head.bias, before["head.bias"])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.safetensors", None, "No such file"),
        ("x.pt", None, "No such file"),
        ("x.safetensors", b"", "is no file of safetensors"),
        ("x.safetensors", b"\xff" * 100, "is no file of safetensors"),
        ("x.pt", b"PK" * 50, "is no file of weights"),
        ("x.bin", b"\x80\x02c__builtin__\neval\n.", "is no file of weights"),
        ("x.pt", {"epoch": 3, "model": {}}, "holds a dictionary with epoch, model; a state_dict is needed"),
        ("x.pt", [torch.ones(1)], "holds no dictionary; a state_dict is needed"),
    ],
)
def test_a_file_that_holds_no_weights_is_told_in_words(tmp_path, name, content, words):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=words) as told:
        read_weights(path)
    assert str(path) in str(told.value)


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff" * 9, b"\x02" + b"\0" * 7 + b"[]", b"\x09" + b"\0" * 7 + b'{"a": 1}']
)
def test_a_header_that_cannot_be_read_says_nothing(tmp_path, content):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert read_facts(path) == {}


def test_a_full_disk_leaves_the_files_before_whole(tmp_path):
    write_weights(tmp_path / "model", {"a": torch.ones(3)}, {"step": "1"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as a full disk, for what is longer
    try:
        with pytest.raises(OSError, match="File too large"):
            write_weights(tmp_path / "model", {"a": torch.ones(9999)}, {"step": "2"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_weights(tmp_path / "model.safetensors")["a"].tolist() == [1, 1, 1]
    assert read_weights(tmp_path / "model.pt")["a"].tolist() == [1, 1, 1]
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "model.pt"}
