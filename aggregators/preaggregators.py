"""Steps that make the vectors more alike before a rule sees them."""

import numpy as np
from detox.aggregators.errors import AggregatorError
from detox.aggregators.geometry import average, least, squared_distances
from detox.aggregators.rows import Array, Rows
from detox.aggregators.rule import ANY, MAJORITY, rule


@rule(ANY, "Karimireddy et al. 2022, arXiv 2006.09365", size=lambda n, s=2, **_: -(-n // s))
def bucketing(rows: Rows, f: int, *, s: int = 2, rng: np.random.Generator | None = None) -> Array:
    """Permute the vectors and average s at a time: ceil(n / s) vectors, of which up to f are bad.

    Options:
        s: vectors in a bucket; the last may have fewer.
        rng: draws the permutation; the given order is kept without one.
    """
    if s < 1:
        raise AggregatorError(f"bucketing needs s >= 1, got s = {s}")
    order = np.arange(rows.n) if rng is None else rng.permutation(rows.n)
    buckets = [order[i : i + s] for i in range(0, rows.n, s)]
    return rows.mix(np.stack([average(rows.n, bucket) for bucket in buckets]))


@rule(MAJORITY, "Allouah et al. 2023, arXiv 2302.01772", size=lambda n, **_: n)
def nnm(rows: Rows, f: int) -> Array:
    """Nearest-neighbour mixing: each vector becomes the mean of its n - f nearest, itself included."""
    squares = squared_distances(rows.gram())
    return rows.mix(np.stack([average(rows.n, least(row, rows.n - f)) for row in squares]))
