"""Rules that look along the direction in which the vectors spread most."""

from itertools import combinations, islice
from math import ceil, comb, inf

import numpy as np

from detox.aggregators.arrays import Array, Floats, Index
from detox.aggregators.errors import AggregatorError
from detox.aggregators.geometry import HUGE, average, finite, least, levelled, squared_distances, squared_norms
from detox.aggregators.rows import Rows
from detox.aggregators.rule import MAJORITY, rule

SUBSETS = 200_000
BESIDE = 1e6
VAST = 1e100
"""Squares of what is greater may leave float64's range."""


@rule(MAJORITY, "Allouah et al. 2023, ICML")
def smea(rows: Rows, f: int) -> Array:
    """Mean of the n - f vectors whose covariance has the least top eigenvalue, ties to the lower indices.

    Exact: all C(n, f) subsets are tried, which must be at most 200,000.
    """
    if comb(rows.n, f) > SUBSETS:
        raise AggregatorError(
            f"smea tries all C(n, f) subsets, at most {SUBSETS}: got n = {rows.n}, f = {f}, "
            f"C(n, f) = {comb(rows.n, f)}; caf is its fast relative"
        )
    squares = squared_distances(rows.gram())
    counted = finite(squares)
    size = min(len(counted), rows.n - f)
    subsets, tops = combinations(counted.tolist(), size), []
    while batch := list(islice(subsets, 1024)):
        chosen = np.array(batch)
        s = squares[chosen[:, :, None], chosen[:, None, :]]
        means = s.mean(axis=2)
        products = (means[:, :, None] + means[:, None, :] - s - means.mean(axis=1)[:, None, None]) / 2
        tops.append(np.maximum(np.linalg.eigvalsh(products)[:, -1], 0))
    winner = int(least(np.concatenate(tops), 1)[0])
    return rows.combine(average(rows.n, list(next(islice(combinations(counted.tolist(), size), winner, None)))))


@rule(MAJORITY, "Allouah, Guerraoui and Stephan 2025, ICML")
def caf(rows: Rows, f: int) -> Array:
    """Covariance filter: the weighted mean with the least top eigenvalue of its covariance.

    While the weights sum to more than n - 2f, each is scaled down by its vector's squared projection on the
    top eigenvector.
    """
    squares = squared_distances(rows.gram())
    counted = finite(squares)
    s = squares[np.ix_(counted, counted)]
    c = np.ones(len(counted))
    best, winner = np.inf, c
    while c.sum() > rows.n - 2 * f:
        p = c / c.sum()
        products = _centred(s, p)
        values, vectors = np.linalg.eigh(np.sqrt(p)[:, None] * products * np.sqrt(p)[None, :])
        if values[-1] < best:
            best, winner = values[-1], c
        projections = products @ (np.sqrt(p) * vectors[:, -1])
        greatest = np.abs(projections).max()
        if greatest > VAST:
            projections = projections / greatest
        scores = np.where(c > 0, projections**2, 0)
        if not scores.max() > 0:
            break
        c = c * (1 - scores / scores.max())
    weights = np.zeros(rows.n)
    weights[counted] = winner / winner.sum()
    return rows.combine(weights)


@rule(MAJORITY, "Shejwalkar and Houmansadr 2021, NDSS")
def dnc(
    rows: Rows,
    f: int,
    *,
    c: float = 1.0,
    iterations: int = 1,
    columns: int = 10_000,
    rng: np.random.Generator | None = None,
) -> Array:
    """Divide and conquer: mean of the vectors that are never outliers along the top singular vector.

    One with a NaN or an infinity is always an outlier, and the first to be dropped.

    Options:
        c: ceil(c f) vectors are dropped in each iteration.
        iterations: how often; each on its own random coordinates.
        columns: how many coordinates are looked at.
        rng: draws them; seeded with 0 unless given.
    """
    if iterations < 1 or columns < 1 or not (0 < c < inf and ceil(min(c * f, rows.n)) * iterations < rows.n):
        raise AggregatorError(
            f"dnc needs c > 0, columns >= 1 and ceil(c f) x iterations < n, got c = {c}, "
            f"columns = {columns}, iterations = {iterations}, n = {rows.n}, f = {f}"
        )
    drop = ceil(c * f)
    rng = np.random.default_rng(0) if rng is None else rng
    draws = [rng.choice(rows.width, min(columns, rows.width), replace=False) for _ in range(iterations if drop else 1)]
    samples = [rows.columns(np.sort(draw)) for draw in draws]
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~np.all([(x**2).sum(axis=1) < HUGE for x in samples], axis=0)
    while True:
        good = ~bad
        for x in samples:
            first = np.concatenate([np.flatnonzero(bad), np.flatnonzero(~bad)[_farthest_first(x[~bad])]])
            good[first[:drop]] = False
        kept = np.flatnonzero(good) if good.any() else np.arange(1)
        result = rows.combine(average(rows.n, kept))
        # What makes a vector bad can lie outside its sample; where the mean is finite none of its vectors is bad.
        unread = np.flatnonzero(~bad & ~good if rows.finite(result) else ~bad)
        missed = [i for i in unread if np.isinf(squared_norms(rows.select(np.array([i])))[0])]
        if not missed:
            return result
        bad[missed] = True


def _farthest_first(x: Floats) -> Index:
    """The points (n, k) by the size of their projections on their top singular vector, the greatest first."""
    if not len(x):
        return np.arange(0)
    x = x - np.median(x, axis=0)
    centred = x - x.mean(axis=0)
    top = np.linalg.eigh(centred @ centred.T)[1][:, -1]
    # Beside a vector that is vastly greater the others differ only before the mean is taken off.
    along = x @ (top @ centred)
    mean = along.mean()
    ties = -np.sign(mean) * along if abs(mean) > BESIDE * np.median(np.abs(along)) else np.zeros(len(x))
    order: Index = np.lexsort((-ties, -levelled(top**2)))
    return order


def _centred(squares: Floats, p: Floats) -> Floats:
    """Inner products of the vectors less their weighted mean, from squared distances; p sums to 1."""
    toward = squares @ p
    result: Floats = (toward[:, None] + toward[None, :] - squares - p @ toward) / 2
    return result
