"""Krum and what is built on its score."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from detox.aggregators.arrays import Array, Floats, Index
from detox.aggregators.errors import AggregatorError
from detox.aggregators.geometry import average, clearance, least, settled
from detox.aggregators.rows import Rows, Weighted
from detox.aggregators.rule import BULYAN, KRUM, rule


@rule(KRUM, "Blanchard et al. 2017, arXiv 1703.02757")
def krum(rows: Rows, f: int, *, neighbours: int | None = None) -> Weighted:
    """The vector with the least sum of squared distances to its nearest others; ties go to the lower index.

    Options:
        neighbours: how many others count; n - f - 2 as in the paper unless given (byzfl: n - f - 1).
    """
    return _krum_mean(rows, f, neighbours, 1)


@rule(KRUM, "Blanchard et al. 2017, arXiv 1703.02757")
def multi_krum(rows: Rows, f: int, *, neighbours: int | None = None, m: int | None = None) -> Weighted:
    """Mean of the m vectors with the best Krum scores.

    Options:
        neighbours: as for krum.
        m: how many vectors are averaged; n - f - 2 unless given (byzfl: n - f).
    """
    m = rows.n - f - 2 if m is None else m
    if not 1 <= m <= rows.n - f:
        raise AggregatorError(f"multi_krum needs 1 <= m <= n - f, got m = {m}, n = {rows.n}, f = {f}")
    return _krum_mean(rows, f, neighbours, m)


@rule(BULYAN, "El Mhamdi et al. 2018, arXiv 1802.07927")
def bulyan(rows: Rows, f: int, *, scoring: str = "each") -> Array:
    """n - 2f picks by iterated Krum, then per coordinate the mean of the n - 4f values nearest their median.

    Each pick is Krum's winner among the n' vectors that are left, by n' - f - 2 neighbours, at least one.

    Options:
        scoring: "each" pick anew, as in the paper; "once", as in DETOX's released code: the picks are the n - f - 2
            vectors with the best scores, and of their values the n - 3f - 2 in the middle are averaged.
    """
    if scoring not in ("each", "once"):
        raise AggregatorError(f"bulyan: scoring must be each or once, got {scoring!r}")
    if scoring == "once":
        return rows.select(settled(rows, _best(rows.n - f - 2, rows.n - f - 2))).trimmed_mean(f)
    theta = rows.n - 2 * f

    def picks(squares: Floats) -> tuple[list[int], float]:
        left, chosen, gap = np.arange(rows.n), [], np.inf
        for _ in range(theta):
            scores = krum_scores(squares[np.ix_(left, left)], max(1, len(left) - f - 2))
            winner = int(least(scores, 1)[0])
            gap = min(gap, clearance(scores, 1))
            chosen.append(left[winner])
            left = np.delete(left, winner)
        return chosen, gap

    return rows.select(np.sort(settled(rows, picks))).nearest_mean((theta - 1) // 2, theta - 2 * f)


def krum_scores(squares: Floats, neighbours: int) -> Floats:
    """Sum of squared distances of each vector to its nearest others, (n,)."""
    others: npt.NDArray[np.float64] = squares.copy()
    np.fill_diagonal(others, -1)  # sorts first, and is left out below
    nearest: Floats = np.sort(others, axis=1)[:, 1 : 1 + neighbours].sum(axis=1)
    return nearest


def _krum_mean(rows: Rows, f: int, neighbours: int | None, m: int) -> Weighted:
    neighbours = rows.n - f - 2 if neighbours is None else neighbours
    if not 1 <= neighbours < rows.n:
        raise AggregatorError(f"krum needs 1 <= neighbours < n, got neighbours = {neighbours}, n = {rows.n}")

    return Weighted(average(rows.n, settled(rows, _best(neighbours, m))))


def _best(neighbours: int, m: int) -> Callable[[Floats], tuple[Index, float]]:
    def best(squares: Floats) -> tuple[Index, float]:
        scores = krum_scores(squares, neighbours)
        return least(scores, m), clearance(scores, m)

    return best
