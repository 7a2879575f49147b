"""The samples of each step, split into files."""

from dataclasses import dataclass

import numpy as np

from detox.assignment.seeds import stream


@dataclass(frozen=True)
class Files:
    """The samples of each step, split into one file per group.

    The training set is passed through in a fresh random order each epoch; a step takes the next b samples, so that
    every r sees the same b samples at the same step. With shards, each file passes through its own shard instead.

    Args:
        count: files per step; p/r where all copies are computed at once.
        size: samples per file.
        train_size: samples of the training set.
        seed: of the order and of the files' own randomness.
        shards: the samples of each file, see detox.tasks.shards; empty: every file draws from the whole training set.
    """

    count: int
    size: int
    train_size: int
    seed: int
    shards: tuple[np.ndarray, ...] = ()

    def draw(self, step: int, count: int | None = None) -> np.ndarray:
        """(count, size) int64: the samples of each file of `step`, which counts from 1.

        Args:
            step: the step.
            count: files of this step, if they are fewer since workers are in quarantine; shards then take turns.
        """
        count = self.count if count is None else count
        if not self.shards:
            drawn = self._pass(step, self.count * self.size, self.train_size, "epoch")
            return drawn.reshape(self.count, self.size)[:count]
        turns = np.arange((step - 1) * count, step * count) % self.count
        return np.stack(
            [self.shards[i][self._pass(step, self.size, len(self.shards[i]), "shard", int(i))] for i in turns]
        )

    def _pass(self, step: int, count: int, n: int, name: str, *counters: int) -> np.ndarray:
        """(count,) of 0..n-1: what step takes of passes through all n, each in an order of its own."""
        positions = np.arange((step - 1) * count, step * count)
        epochs, offsets = np.divmod(positions, n)
        for epoch in np.unique(epochs):
            order = stream(self.seed, name, *counters, int(epoch)).permutation(n)
            positions[epochs == epoch] = order[offsets[epochs == epoch]]
        return positions

    def file_seed(self, step: int, file: int) -> int:
        """Seed of the augmentation and dropout of one file, below 2^63."""
        return int(stream(self.seed, "file", step, file).integers(2**63))
