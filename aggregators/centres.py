"""Rules that move a centre until it balances the vectors."""

import numpy as np

from detox.aggregators.arrays import Array, Floats
from detox.aggregators.errors import AggregatorError
from detox.aggregators.geometry import (
    ROUNDING,
    about,
    average,
    distances_to,
    finite,
    squared_distances,
    squared_norms,
)
from detox.aggregators.rows import Rows
from detox.aggregators.rule import MAJORITY, rule
from detox.aggregators.votes import as_rows

ITERATIONS = 10_000
TOLERANCE = 1e-12
STEP = 1e-9
"""Steps of the geometric median, relative to the distances, that end its search."""


@rule(MAJORITY, "Chen, Su and Xu 2017, arXiv 1705.05491")
def median_of_means(rows: Rows, f: int, *, blocks: int | None = None, centre: str = "geometric") -> Array:
    """Geometric (or coordinate-wise) median of the means of blocks of vectors, in the given order.

    Options:
        blocks: number of blocks, 2f + 1 unless given; more than 2f, at most n.
        centre: "geometric" or "coordinatewise".
    """
    blocks = 2 * f + 1 if blocks is None else blocks
    if not 2 * f < blocks <= rows.n:
        raise AggregatorError(f"median_of_means needs 2f < blocks <= n, got blocks = {blocks}, n = {rows.n}, f = {f}")
    if centre not in ("geometric", "coordinatewise"):
        raise AggregatorError(f"centre must be geometric or coordinatewise, got {centre!r}")
    means = np.stack([average(rows.n, block) for block in np.array_split(np.arange(rows.n), blocks)])
    if centre == "coordinatewise":
        return as_rows(rows.mix(means), rows.threads, rows.owners).median()
    gram = rows.gram()
    far = ~np.isfinite(np.diagonal(gram))
    gram[far, :] = gram[:, far] = 0
    products = means @ gram @ means.T
    spoilt = (means[:, far] != 0).any(axis=1)
    products[spoilt, spoilt] = np.inf
    return rows.combine(geometric_median_weights(products) @ means)


@rule(MAJORITY, "Karimireddy, He and Jaggi 2021, arXiv 2012.10333")
def centered_clipping(
    rows: Rows, f: int, *, previous: Array | None = None, tau: float | None = None, iterations: int = 1
) -> Array:
    """The mean of the vectors, each drawn first to within tau of the last output v.

    In symbols v + mean((x - v) min(1, tau / |x - v|)).

    Options:
        previous: v, (d,), the rule's last output; the coordinate-wise median unless given.
        tau: clipping radius; the median distance to the starting v unless given.
        iterations: how often v is replaced by the result, at most 1000.
    """
    if not 1 <= iterations <= 1000 or (tau is not None and not tau > 0):
        raise AggregatorError(
            f"centered_clipping needs tau > 0 and 1 <= iterations <= 1000, got tau = {tau}, iterations = {iterations}"
        )
    start = rows.median() if previous is None else rows.reference("previous", previous)
    gram = rows.gram(start)
    counted = finite(squared_distances(gram))
    if counted[-1] != rows.n:
        return start  # the median of more than f vectors with a NaN or an infinity
    products = about(gram[np.ix_(counted, counted)], len(counted) - 1)
    weights = np.eye(len(counted))[-1]
    for _ in range(iterations):
        distances = distances_to(products, weights)[:-1]
        if tau is None:
            far = np.full(rows.n - len(distances), np.inf)
            tau = float(np.sort(np.append(distances, far))[(rows.n - 1) // 2])
        with np.errstate(divide="ignore", invalid="ignore"):
            pull = np.where(distances > tau, tau / distances, 1) / rows.n
        weights *= 1 - pull.sum()
        weights[:-1] += pull
    everything = np.zeros(rows.n + 1)
    everything[counted] = weights
    return rows.combine(everything, start)


@rule(MAJORITY, "Pillutla et al. 2019, arXiv 1912.13445")
def geometric_median(rows: Rows, f: int) -> Array:
    """The point with the least sum of distances to the vectors, by Weiszfeld's iteration run to convergence.

    A vector with a NaN or an infinity does not count. Takes memory of the size of n min(n, d).
    """
    if rows.n > rows.width:
        counted = np.isfinite(squared_norms(rows))
        counted[0] |= not counted.any()
        return rows.vector(_weiszfeld_of_points(rows.columns(np.arange(rows.width))[counted]))
    return rows.combine(geometric_median_weights(rows.gram()))


def geometric_median_weights(gram: Floats) -> Floats:
    """Weights (n,), of sum 1, of the geometric median of the vectors with these inner products."""
    squares = squared_distances(gram)
    counted = finite(squares)
    weights = np.zeros(len(gram))
    inner = np.ix_(counted, counted)
    weights[counted] = _weiszfeld(gram[inner], squares[inner])
    return weights


def _weiszfeld(gram: Floats, s: Floats) -> Floats:
    n = len(s)
    distances = np.sqrt(s)
    best = _most_central(gram, distances)
    apart = distances[best] > 0
    if not apart.any():
        return average(n, [best])
    # Only the best of the vectors can be the minimiser: it is if the pull of the others does not exceed the
    # number of vectors at its place (Vardi and Zhang 2000).
    products = about(gram, best)
    to = distances[best, apart]
    pull = (products[np.ix_(apart, apart)] / (to[:, None] * to[None, :])).sum()
    here = n - len(to)
    if pull < here**2 * (1 - 1e-9):
        return average(n, [best])
    # Start at the mean of the half that lies closest together: a vector at 1e38 need not be left behind.
    close = np.argsort(np.sort(s, axis=1)[:, n // 2], kind="stable")[: n // 2 + 1]
    w = average(n, close)
    smoothing, scale = 1e-12 * to.min(), float(np.median(to))
    if distances_to(products, w).min() <= TOLERANCE * scale:
        # That is one of the vectors, which Weiszfeld's step alone never leaves. So the first step leaves the best of
        # them, those at its place holding it back; the sum of distances only falls, and no other is met.
        held = min(1.0, here / np.sqrt(pull))
        w = np.where(apart, 1 / np.where(apart, distances[best], np.inf), 0.0)
        w *= (1 - held) / w.sum()
        w[best] = held
    for _ in range(ITERATIONS):
        new = 1 / np.maximum(distances_to(products, w), smoothing)
        new /= new.sum()
        change = new - w
        w = new
        # A weight that hardly changes can be that of a vector very far away.
        if np.abs(change).max() < TOLERANCE and change @ products @ change <= (STEP * scale) ** 2:
            break
    return w


def _most_central(gram: Floats, distances: Floats) -> int:
    """The vector with the least sum of distances, (n, n), to all: the lower index, unless another's is clearly less.

    Sums cannot tell vectors apart beside one that is far away, but sums of differences can.
    """
    norms = np.diagonal(gram)
    best = int(np.argmin(distances.sum(axis=1)))
    with np.errstate(invalid="ignore"):
        squares = norms[:, None] - norms[best] - 2 * (gram - gram[best])  # to i less to best, for each vector j
    both = distances + distances[best]
    differences = np.divide(squares, both, where=both > 0, out=np.zeros_like(both)).sum(axis=1)
    other = int(np.argmin(differences))
    return other if differences[other] < -ROUNDING * np.median(distances[best]) else best


def _weiszfeld_of_points(x: Floats) -> Floats:
    """Geometric median (d,) of points (n, d): where they are many and short, their n x n inner products cost more."""
    origin = np.median(x, axis=0)
    x, y = x - origin, np.zeros_like(origin)
    for _ in range(ITERATIONS):
        toward = x - y
        distances = np.linalg.norm(toward, axis=1)
        reach = TOLERANCE * np.median(distances)
        apart = distances > reach
        weights = np.divide(1, distances, where=apart, out=np.zeros(len(x)))
        pull = weights @ toward
        strength, here = np.linalg.norm(pull), len(x) - np.count_nonzero(apart)
        # Points at y hold it back, and Weiszfeld's step alone would never leave them (Vardi and Zhang 2000).
        if strength <= here:
            break
        step = (1 - here / strength) * pull / weights.sum()
        y = y + step
        if np.linalg.norm(step) <= reach:
            break
    result: Floats = origin + y
    return result
