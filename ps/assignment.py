"""Who computes what in a step: the groups of workers and the files of samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from detox.tasks.seeds import stream

Groups = tuple[tuple[int, ...], ...]


def draw_groups(
    workers: Sequence[int], r: int, how: Literal["fixed", "random", "redrawn"], seed: int, step: int = 0
) -> Groups:
    """Partitions workers into groups of r (DETOX, Algorithm 1, line 1); those that remain have nothing to do.

    Args:
        workers: their ids.
        r: workers a group.
        how: "fixed" takes them in the given order; "random" draws once; "redrawn" draws anew each step.
        seed: of the draw.
        step: only "redrawn" depends on it.
    """
    if how == "fixed":
        order = np.asarray(workers)
    elif how == "random":
        order = stream(seed, "groups").permutation(workers)
    else:
        order = stream(seed, "groups", step).permutation(workers)
    count = len(workers) // r
    return tuple(tuple(sorted(group)) for group in order[: count * r].reshape(count, r).tolist())


def worst_case(q: int, r: int, votes: int) -> int:
    """The most bad votes that q Byzantine workers can make: floor(q / ((r+1)/2)), of no more than there are."""
    return min(votes, q // ((r + 1) // 2))


@dataclass(frozen=True)
class Files:
    """The samples of each step, split into one file a group.

    The training set is passed through in a fresh random order each epoch; a step takes the next b samples, so that
    every r sees the same b samples at the same step.

    Args:
        count: files a step, p/r.
        size: samples a file, r*b/p.
        train_size: samples of the training set.
        seed: of the order and of the files' own randomness.
    """

    count: int
    size: int
    train_size: int
    seed: int

    def draw(self, step: int) -> np.ndarray:
        """(count, size) int64: the samples of each file of `step`, which counts from 1."""
        b = self.count * self.size
        positions = np.arange((step - 1) * b, step * b)
        epochs, offsets = np.divmod(positions, self.train_size)
        samples = np.empty_like(positions)
        for epoch in np.unique(epochs):
            order = stream(self.seed, "epoch", int(epoch)).permutation(self.train_size)
            samples[epochs == epoch] = order[offsets[epochs == epoch]]
        return samples.reshape(self.count, self.size)

    def file_seed(self, step: int, file: int) -> int:
        """Seed of the augmentation and dropout of one file, below 2^63."""
        return int(stream(self.seed, "file", step, file).integers(2**63))
