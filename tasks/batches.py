"""A data set of torch's as batches on the device: of the samples of a file, or of all in order."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate

from detox.tasks.checks import kind_of
from detox.tasks.preserve import random_state_preserved
from detox.tasks.task import TaskError


class Batches:
    """A map-style torch.utils.data.Dataset, for a task to take its batches from.

    Before each sample the global generators of torch, numpy and Python are seeded, so that transforms that draw from
    them give all workers of a group the same bits; afterwards they are as before. What draws from a generator of its
    own is refused by the trial of the task, unless that is made anew from one of the three for each sample.

    Args:
        dataset: with `__getitem__` of 0..n-1 and `__len__`; n is at least 1. A part from random_split needs a
            generator with a seed, or each rank has another.
        device: where the tensors of a batch are moved to, in dictionaries, lists and tuples too.
        collate_fn: makes a batch of a list of samples.
        batch_size: samples of a batch of those that iteration gives; the last may be smaller.

    Raises:
        TaskError: it is not map-style, or it is empty.
    """

    def __init__(
        self,
        dataset: Any,
        device: torch.device,
        *,
        collate_fn: Callable[[list[Any]], Any] = default_collate,
        batch_size: int = 256,
    ) -> None:
        _check(dataset)
        self.dataset = dataset
        self._device = device
        self._collate = collate_fn
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Samples."""
        return len(self.dataset)

    def batch(self, indices: np.ndarray, generator: torch.Generator) -> Any:
        """The batch of these samples, which seeds drawn from the generator make the same wherever it is computed.

        Args:
            indices: (n,) integers, as a task's loss gets them.
            generator: that of the loss; a seed is drawn for each sample.
        """
        seeds = torch.randint(2**63 - 1, (len(indices),), generator=generator)
        return self._make(indices.tolist(), seeds.tolist())

    def __iter__(self) -> Iterator[Any]:
        """Batches of all samples in order, each sample with its index for a seed."""
        for start in range(0, len(self), self._batch_size):
            chosen = list(range(start, min(start + self._batch_size, len(self))))
            yield self._make(chosen, chosen)

    def _make(self, indices: list[int], seeds: list[int]) -> Any:
        samples = []
        with random_state_preserved():
            for index, seed in zip(indices, seeds, strict=True):
                torch.default_generator.manual_seed(seed)
                np.random.seed(seed % 2**32)
                random.seed(seed)
                samples.append(self.dataset[index])
            batch = self._collate(samples)
        return _moved(batch, self._device)


def _check(dataset: Any) -> None:
    asked = "Batches takes a map-style data set, with __getitem__ and __len__"
    if isinstance(dataset, DataLoader):
        raise TaskError(f"{asked}, and this is a DataLoader, which chooses samples itself: give its dataset")
    if isinstance(dataset, IterableDataset):
        raise TaskError(
            f"{asked}, and {type(dataset).__name__} is an IterableDataset: which samples a file has is drawn by their "
            "number, so that workers of a group compute on the same ones. Read it into a list, or into files that "
            "can be read at any place"
        )
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise TaskError(f"{asked}, not {kind_of(dataset)}")
    if not len(dataset):
        raise TaskError(f"the data set given to Batches, {kind_of(dataset)}, is empty")


def _moved(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors, and whatever else has a method `to`, on the device."""
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _moved(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_moved(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(_moved(value, device) for value in batch)
    return batch
