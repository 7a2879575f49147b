"""Data heterogeneity: the training set cut into one shard per file."""

from typing import Literal

import numpy as np

from detox.assignment.seeds import stream

Split = Literal["iid", "dirichlet", "label", "similarity"]


def cut(
    labels: np.ndarray, count: int, split: Literal["dirichlet", "label", "similarity"], alpha: float, seed: int
) -> list[np.ndarray]:
    """Shards of the training set: every sample is in exactly one, and their sizes differ by at most 1.

    "label" cuts the samples, sorted by label, into consecutive pieces. "dirichlet" draws for each shard label
    proportions from Dirichlet(alpha * those of the training set), and fills it with samples of these labels; where a
    label has run out, with the others in proportion (Hsu, Qi and Brown 2019, arXiv 1909.06335). "similarity" gives each
    shard a share `alpha` of its samples from all, and the rest as "label" does (Karimireddy et al. 2020, arXiv
    1910.06378, which byzfl calls gamma).

    Args:
        labels: (n,) integers, of each sample.
        count: shards, at most n.
        split: how.
        alpha: concentration of "dirichlet": near 0 one label a shard, towards infinity all alike; share, 0 to 1, of
            "similarity".
        seed: of all that is random.

    Returns:
        `count` arrays of samples, int64.
    """
    rng = stream(seed, "shards")
    order = rng.permutation(len(labels))
    if split == "label":
        return np.array_split(order[np.argsort(labels[order], kind="stable")], count)
    if split == "similarity":
        alike, rest = np.split(order, [int(alpha * len(order))])
        rest = rest[np.argsort(labels[rest], kind="stable")]
        # Longer pieces first in one, last in the other: sizes differ by at most one.
        pairs = zip(np.array_split(alike, count), reversed(np.array_split(rest, count)), strict=True)
        return [np.concatenate(pair) for pair in pairs]
    _, kinds, totals = np.unique(labels, return_inverse=True, return_counts=True)
    pools = [order[kinds[order] == kind] for kind in range(len(totals))]
    used = np.zeros_like(totals)
    sizes = [len(piece) for piece in np.array_split(order, count)]
    shards = [order[:0]] * count
    # In random order: the shards that are filled last have to take what the others left.
    for shard in rng.permutation(count).tolist():
        wanted = rng.dirichlet(alpha * totals / totals.sum())
        taken = _take(sizes[shard], wanted, totals - used, rng)
        pieces = [pool[start : start + n] for pool, start, n in zip(pools, used, taken, strict=True)]
        shards[shard] = np.concatenate(pieces)
        used += taken
    return shards


def _take(size: int, wanted: np.ndarray, left: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(labels,): how many of each label make a shard of `size`, of those that are left."""
    taken = np.zeros_like(left)
    while (missing := size - taken.sum()) > 0:
        chances = np.where(taken < left, wanted, 0)
        if not chances.sum() > 0:
            chances = (left - taken).astype(float)
        taken = np.minimum(left, taken + rng.multinomial(missing, chances / chances.sum()))
    return taken
