"""Distances from a Gram matrix, and means over chosen rows."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from detox.aggregators.rows import Floats


def squared_distances(gram: Floats) -> Floats:
    """Squared distances between all pairs, (n, n), from their inner products.

    A vector with a NaN or an infinity is infinitely far from all others. Diagonal 0.
    """
    norms = np.diagonal(gram)
    with np.errstate(all="ignore"):
        squares = norms[:, None] + norms[None, :] - 2 * gram
    far = ~np.isfinite(norms)
    squares[far, :] = np.inf
    squares[:, far] = np.inf
    np.fill_diagonal(squares, 0)
    return np.maximum(squares, 0)


def squared_norms(gram: Floats) -> Floats:
    """Squared norms, (n,); infinite for a vector with a NaN or an infinity."""
    norms = np.diagonal(gram).copy()
    norms[~np.isfinite(norms)] = np.inf
    return norms


def least(scores: Floats, m: int) -> npt.NDArray[np.intp]:
    """Indices of the m least scores, ties to the lower index, in ascending order of index."""
    return np.sort(np.argsort(scores, kind="stable")[:m])


def average(n: int, chosen: npt.NDArray[np.intp] | Sequence[int]) -> Floats:
    """Weights (n,) of the mean over the chosen rows."""
    weights = np.zeros(n)
    weights[chosen] = 1 / len(chosen)
    return weights
