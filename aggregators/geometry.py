"""Distances and norms by inner products, and means over chosen rows."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from detox.aggregators.arrays import Floats, Index
from detox.aggregators.rows import Rows

T = TypeVar("T")
HUGE = 1e300
"""Squared norms from which sums of them can leave float64's range."""
ROUNDING = 1e-10
"""Relative gap between two scores, below which they tie: float64 sums in another order differ by less."""
CLOSE = 2e-7
"""Relative gap between two sums of squared distances, below which float32 products may order them wrongly."""
FEW_COLUMNS = 4e-5
"""The same, times the root of the number of columns: with more of them rounding errors cancel, and gaps shrink."""


def squared_distances(gram: Floats) -> Floats:
    """Squared distances between all pairs, (n, n), from their inner products; symmetric to the bit, diagonal 0.

    A vector with a NaN or an infinity, or farther than 1e150 from the others, is infinitely far from all.
    """
    norms = np.diagonal(gram)
    with np.errstate(all="ignore"):
        squares = norms[:, None] + norms[None, :] - (gram + gram.T)
        far = ~(norms < HUGE)
    squares[far, :] = np.inf
    squares[:, far] = np.inf
    np.fill_diagonal(squares, 0)
    return np.maximum(squares, 0)


def settled(rows: Rows, choose: Callable[[Floats], tuple[T, float]]) -> T:
    """What `choose` picks by squared distances; it also says by what relative gap its closest decision fell.

    Where that is too close for float32 products, they are taken again in float64.
    """
    chosen, gap = choose(squared_distances(rows.gram()))
    if too_close(gap, rows):
        chosen, _ = choose(squared_distances(rows.gram(precise=True)))
    return chosen


def too_close(gap: float, rows: Rows) -> bool:
    """Whether float32 products may have decided wrongly."""
    return 0 < gap < max(CLOSE, FEW_COLUMNS / math.sqrt(rows.width))


def clearance(scores: Floats, m: int) -> float:
    """By what relative gap the m least scores are chosen; infinite where any error would choose the same.

    Where the m-th and the next tie, an error could bring another score between them.
    """
    if m >= len(scores):
        return np.inf
    low, high = np.partition(scores, (m - 1, m))[m - 1 : m + 1]
    if low == high:
        others = scores[(scores != high) & np.isfinite(scores)]
        gap = np.abs(others - high).min(initial=np.inf) if high < np.inf else np.inf
    else:
        gap = high - low
    with np.errstate(over="ignore"):
        return float(gap / high) if 0 < high < np.inf else np.inf


def squared_norms(rows: Rows) -> Floats:
    """Squared norms, (n,), in one pass; infinite for a vector with a NaN or an infinity, or longer than 1e150."""
    norms = rows.squared_norms()
    norms[~(norms < HUGE)] = np.inf
    return norms


def about(gram: Floats, origin: int) -> Floats:
    """Inner products of finite vectors less one of them, from their own inner products."""
    row = gram[origin]
    products: Floats = gram - row[:, None] - row[None, :] + row[origin]
    return products


def distances_to(products: Floats, weights: Floats) -> Floats:
    """Distances (n,) of the vectors to their weighted mean y = w_1 x_1 + ...; weights sum to 1.

    They are the roots of K_ii - 2 (K w)_i + w'K w, so the vectors need not be read again. The products K
    must be about an origin near y. (Squared distances S would do in exact arithmetic; but a vector at 1e38
    with a weight of 1e-38 drowns all others in w'S w, and is harmless in w'K w.)
    """
    toward = products @ weights
    return np.sqrt(np.maximum(np.diagonal(products) - 2 * toward + weights @ toward, 0))


def finite(squares: Floats) -> Index:
    """Indices of the vectors without a NaN or an infinity; the first vector where there are no two."""
    others = np.isfinite(squares).sum(axis=1) > 1
    return np.flatnonzero(others) if others.any() else np.arange(1)


def least(scores: Floats, m: int) -> Index:
    """Indices of the m least scores, ties to the lower index, in ascending order of index."""
    return np.sort(np.argsort(levelled(scores), kind="stable")[:m])


def levelled(scores: Floats) -> Floats:
    """The scores (n,), none negative, with those equal that differ by no more than rounding."""
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    with np.errstate(invalid="ignore"):
        steps = np.diff(ascending) > ROUNDING * ascending[1:]
    steps |= np.isinf(ascending[1:]) & ~np.isinf(ascending[:-1])
    level = np.empty_like(scores)
    level[order] = ascending[np.concatenate([[0], np.flatnonzero(steps) + 1])][np.concatenate([[0], np.cumsum(steps)])]
    return level


def average(n: int, chosen: Index | Sequence[int]) -> Floats:
    """Weights (n,) of the mean over the chosen rows."""
    weights = np.zeros(n)
    weights[chosen] = 1 / len(chosen)
    return weights
