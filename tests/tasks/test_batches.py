"""A data set of torch's gives a file the same bits wherever it is computed, random transforms included."""

import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, default_collate

from detox.ps.model import GlobalModel
from detox.ps.trial import try_out
from detox.tasks import Batches, FlatModel, Task, TaskError
from detox.tasks.samples import Files

CPU = torch.device("cpu")
X, Y = torch.arange(40.0).reshape(20, 2), torch.arange(20)
PLAIN = TensorDataset(X, Y)


class Noisy(Dataset):
    """Adds to each sample what the generators of torch, numpy and Python give."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index] + torch.rand(2) + torch.tensor([np.random.rand(), random.random()])


def drawn(dataset, indices, seed=0):
    return Batches(dataset, CPU).batch(np.asarray(indices), torch.Generator().manual_seed(seed))


@given(st.lists(st.integers(0, 19), min_size=1, max_size=30))
def test_a_batch_is_what_torchs_collate_makes_of_the_chosen_samples(indices):
    x, y = drawn(PLAIN, indices)
    assert torch.equal(x, X[indices])
    assert torch.equal(y, Y[indices])


def test_iteration_gives_each_sample_once_in_order():
    batches = Batches(PLAIN, CPU, batch_size=8)
    assert len(batches) == 20
    assert [len(x) for x, _ in batches] == [8, 8, 4]
    assert torch.equal(torch.cat([y for _, y in batches]), Y)


def test_random_transforms_give_a_file_the_same_bits_whatever_was_drawn_before():
    first = drawn(Noisy(), [3, 1, 3])
    torch.manual_seed(5), np.random.seed(6), random.seed(7)
    assert torch.equal(drawn(Noisy(), [3, 1, 3]), first)
    assert not torch.equal(drawn(Noisy(), [3, 1, 3], seed=1), first)
    assert not torch.equal(first[0], first[2])  # the same sample twice is transformed anew
    one, other = (torch.cat(list(Batches(Noisy(), CPU, batch_size=size))) for size in (3, 20))
    assert torch.equal(one, other)


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_file_in_pieces_has_the_transforms_of_the_whole(size, piece):
    indices, generator = np.arange(size) % 20, torch.Generator().manual_seed(0)
    batches = Batches(Noisy(), CPU)
    parts = [batches.batch(indices[i : i + piece], generator) for i in range(0, size, piece)]
    assert torch.equal(torch.cat(parts), drawn(Noisy(), indices))


def test_a_batch_leaves_the_global_generators_as_they_were():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    drawn(Noisy(), range(9))
    list(Batches(Noisy(), CPU))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]


def test_own_collate_functions_and_structures_are_kept():
    Pair = namedtuple("Pair", "x y")
    samples = [{"pair": Pair(i, i + 1), "text": "ab"[i], "list": [torch.ones(i + 1)]} for i in range(2)]

    def collate(chosen):
        return {**default_collate([{"pair": one["pair"]} for one in chosen]), "raw": [one["list"] for one in chosen]}

    batch = Batches(samples, torch.device("meta"), collate_fn=collate).batch(np.array([1, 0]), torch.Generator())
    assert type(batch["pair"]).__name__ == "Pair"
    assert batch["pair"].x.device.type == batch["raw"][0][0].device.type == "meta"
    assert [one[0].shape for one in batch["raw"]] == [(2,), (1,)]


@pytest.mark.parametrize("dataset", [Subset(PLAIN, range(4, 9)), ConcatDataset([PLAIN, PLAIN]), list(PLAIN)])
def test_whatever_is_map_style_will_do(dataset):
    x, y = drawn(dataset, [len(dataset) - 1])
    assert (x[0].tolist(), int(y)) == (dataset[len(dataset) - 1][0].tolist(), int(dataset[len(dataset) - 1][1]))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (Stream(), "Stream is an IterableDataset: which samples a file has is drawn by their number"),
        (DataLoader(PLAIN), "this is a DataLoader, which chooses samples itself: give its dataset"),
        (iter([1, 2]), "takes a map-style data set, with __getitem__ and __len__, not a list_iterator"),
        (None, "with __getitem__ and __len__, not None"),
        ([], "the data set given to Batches, a list, is empty"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused_in_words(dataset, words):
    with pytest.raises(TaskError, match=words):
        Batches(dataset, CPU)


class Trained(Task):
    """Regression on a data set, with dropout in the model."""

    device, train_size = CPU, 20

    def __init__(self, dataset):
        self.train = Batches(dataset, CPU)

    def build_model(self):
        return nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1))

    def loss(self, model, indices, generator):
        return model(self.train.batch(indices, generator)).square().mean()

    def evaluate(self, model):
        return {"loss": sum(model(x).square().sum() for x in self.train) / len(self.train)}


def test_two_workers_compute_equal_bits_of_a_file_with_random_transforms():
    models = [FlatModel.build(Trained(Noisy()), seed=0) for _ in range(2)]
    one, other = models
    one.compute(Trained(Noisy()), np.array([7, 8]), seed=3)
    found = [model.compute(Trained(Noisy()), np.array([0, 5, 19]), seed=4).tobytes() for model in (one, other)]
    assert found[0] == found[1]
    assert found[0] != other.compute(Trained(Noisy()), np.array([0, 5, 19]), seed=5).tobytes()


class Own(Noisy):
    """Draws from a generator of its own, which goes on from call to call."""

    def __init__(self):
        self.rng, self.reads = np.random.default_rng(0), 0

    def __getitem__(self, index):
        self.reads += 1
        return X[index] + self.rng.random(dtype=np.float32)


def test_a_transform_with_a_generator_of_its_own_is_refused_before_the_first_step():
    def trial(dataset):
        task = Trained(dataset)
        try_out(task, GlobalModel(task, seed=0, steps=1), Files(2, 3, 20, 0), bits=True, signs=False, warn=pytest.fail)

    trial(Noisy())
    with pytest.raises(TaskError, match=r"not deterministic.*: Trained\.train changed from call to call"):
        trial(Own())
