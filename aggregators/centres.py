"""Rules that move a centre until it balances the vectors."""

import numpy as np
from detox.aggregators.geometry import squared_distances
from detox.aggregators.rows import Array, Floats, Rows
from detox.aggregators.rule import MAJORITY, rule

ITERATIONS = 10_000
TOLERANCE = 1e-12


@rule(MAJORITY, "Pillutla et al. 2019, arXiv 1912.13445")
def geometric_median(rows: Rows, f: int) -> Array:
    """The point with the least sum of distances to the vectors, by Weiszfeld's iteration run to convergence.

    A vector with a NaN or an infinity does not count.
    """
    return rows.combine(geometric_median_weights(squared_distances(rows.gram())))


def geometric_median_weights(squares: Floats) -> Floats:
    """Weights (n,), of sum 1, of the geometric median of the vectors with these squared distances.

    For y = sum of w_i x_i the squared distances to y are S w - w'Sw / 2, so no step reads the vectors. It starts
    at the mean of the half that lies closest together: a vector at 1e38 does not have to be left behind first.
    """
    finite = np.flatnonzero(np.isfinite(squares).sum(axis=1) > 1) if len(squares) > 1 else np.arange(1)
    weights = np.zeros(len(squares))
    if len(finite) == 0:
        finite = np.arange(1)
    s = squares[np.ix_(finite, finite)]
    weights[finite] = _weiszfeld(s)
    return weights


def _weiszfeld(s: Floats) -> Floats:
    n = len(s)
    distances = np.sqrt(s)
    best = int(np.argmin(distances.sum(axis=1)))
    apart = distances[best] > 0
    if not apart.any():
        return np.eye(n)[best]
    # Only the best of the vectors can be the minimiser: it is if the pull of the others does not exceed the
    # number of vectors at its place (Vardi and Zhang 2000).
    to = distances[best, apart]
    inner = (s[best, apart][:, None] + s[best, apart][None, :] - s[np.ix_(apart, apart)]) / 2
    pull = (inner / (to[:, None] * to[None, :])).sum()
    if pull < (n - len(to)) ** 2 * (1 - 1e-9):
        return np.eye(n)[best]
    close = np.argsort(np.sort(s, axis=1)[:, n // 2], kind="stable")[: n // 2 + 1]
    w = np.zeros(n)
    w[close] = 1 / len(close)
    smoothing = 1e-12 * np.median(to)
    for _ in range(ITERATIONS):
        toward = s @ w
        squared = np.maximum(toward - (w @ toward) / 2, 0)
        new = 1 / np.maximum(np.sqrt(squared), smoothing)
        new /= new.sum()
        change = np.abs(new - w).max()
        w = new
        if change < TOLERANCE:
            break
    return w
