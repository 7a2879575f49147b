"""Steps that make the vectors more alike before a rule sees them."""

import numpy as np

from detox.aggregators.arrays import Array, Floats, Index
from detox.aggregators.errors import AggregatorError
from detox.aggregators.geometry import average, clearance, finite, least, settled, squared_norms
from detox.aggregators.rows import Rows
from detox.aggregators.rule import ANY, MAJORITY, rule


@rule(ANY, "Karimireddy et al. 2022, arXiv 2006.09365", size=lambda n, s=2, **_: -(-n // max(s, 1)))
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
    """Nearest-neighbour mixing: each vector becomes the mean of its n - f nearest, itself included.

    A vector with a NaN or an infinity is nobody's neighbour, not even its own.
    """

    def nearest(squares: Floats) -> tuple[tuple[Index, list[Index]], float]:
        counted = finite(squares)
        near = [least(row[counted], rows.n - f) for row in squares]
        gaps = [clearance(row[counted], rows.n - f) for row in squares]
        return (counted, near), min(gaps)

    counted, near = settled(rows, nearest)
    return rows.select(counted).set_means(near)


@rule(ANY, "", size=lambda n, **_: n)
def clipping(rows: Rows, f: int, *, c: float | None = None) -> Array:
    """Scale each vector down to norm c where it is longer; one with a NaN or an infinity becomes 0.

    Options:
        c: the greatest norm; the (lower) median norm unless given.
    """
    norms = np.sqrt(squared_norms(rows))
    if c is not None and not c > 0:
        raise AggregatorError(f"clipping needs c > 0, got c = {c}")
    return _clip(rows, norms, float(np.sort(norms)[(rows.n - 1) // 2]) if c is None else c)


@rule(MAJORITY, "Allouah et al. 2024, arXiv 2405.14432", size=lambda n, **_: n)
def arc(rows: Rows, f: int) -> Array:
    """Adaptive robust clipping: the floor(2 (f/n) (n - f)) longest vectors are cut to the next norm.

    One with a NaN or an infinity is longest, and becomes 0.
    """
    norms = np.sqrt(squared_norms(rows))
    clipped = 2 * f * (rows.n - f) // rows.n
    return _clip(rows, norms, float(np.sort(norms)[rows.n - clipped - 1]))


def _clip(rows: Rows, norms: Floats, c: float) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.where(np.isinf(norms), 0, np.where(norms > c, c / norms, 1))
    return rows.mix(np.diag(factors))
