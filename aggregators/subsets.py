"""Rules that average a subset of the vectors, chosen by norms or distances."""

from collections.abc import Sequence

import numpy as np

from detox.aggregators.arrays import Array, Floats
from detox.aggregators.covers import Graph, cover, without
from detox.aggregators.geometry import (
    average,
    clearance,
    finite,
    least,
    levelled,
    squared_distances,
    squared_norms,
    too_close,
)
from detox.aggregators.rows import Rows
from detox.aggregators.rule import MAJORITY, rule


@rule(MAJORITY, "Gupta, Liu and Vaidya 2020, arXiv 2008.04699")
def cge(rows: Rows, f: int) -> Array:
    """Comparative gradient elimination: mean of the n - f vectors of least norm."""
    return rows.combine(average(rows.n, least(squared_norms(rows), rows.n - f)))


@rule(MAJORITY, "Farhadkhani et al. 2023, ICML")
def monna(rows: Rows, f: int, *, trusted: Array | None = None) -> Array:
    """Mean of the n - f vectors nearest to a trusted one.

    Options:
        trusted: (d,), without NaN or infinity, such as a gradient of one's own; the coordinate-wise median unless
            given.
    """
    return _nearest(rows, rows.middle() if trusted is None else [rows.reference("trusted", trusted)], rows.n - f)


@rule(MAJORITY, "Boussetta et al. 2020, OPODIS")
def aksel(rows: Rows, f: int) -> Array:
    """Mean of the (n + 1) // 2 vectors nearest to the coordinate-wise median."""
    return _nearest(rows, rows.middle(), (rows.n + 1) // 2)


@rule(MAJORITY, "Xia et al. 2019, IJCAI")
def faba(rows: Rows, f: int) -> Array:
    """f times drop the vector farthest from the mean of those that are left, and return their mean."""
    squares = squared_distances(rows.gram())
    left = finite(squares)
    for _ in range(f - (rows.n - len(left))):
        # What they lack to the squared distances to the mean is the same for all.
        sums = np.sort(squares[np.ix_(left, left)] / len(left), axis=1).sum(axis=1)
        left = np.delete(left, int(np.argmax(levelled(sums))))
    return rows.combine(average(rows.n, left))


@rule(MAJORITY, "Rousseeuw 1985; El Mhamdi et al. 2020, PODC")
def mda(rows: Rows, f: int) -> Array:
    """Minimum-diameter averaging: mean of the n - f vectors of least diameter, ties to the lower indices.

    Exact; the search takes time exponential in f at worst.
    """
    squares = squared_distances(rows.gram())
    squares = levelled(squares.ravel()).reshape(squares.shape)
    diameters = np.unique(squares)
    low, high = 0, len(diameters) - 1
    while low < high:  # the least diameter that f removals can reach
        middle = (low + high) // 2
        if cover(_apart(squares, diameters[middle]), f) is not None:
            high = middle
        else:
            low = middle + 1
    return rows.combine(average(rows.n, _first_subset(_apart(squares, diameters[low]), rows.n - f)))


def _nearest(rows: Rows, around: Sequence[Array], m: int) -> Array:
    """Mean of the m vectors nearest to the mean of one or two others.

    Squared distances to two, added up, are in the order of those to their mean, which need not be a float.
    """
    squares = squared_distances(rows.gram(*around))[: rows.n, rows.n :].sum(axis=1)
    if too_close(clearance(squares, m), rows):
        squares = rows.squared_distances(around)
    return rows.combine(average(rows.n, least(squares, m)))


def _apart(squares: Floats, diameter: float) -> Graph:
    """Which vectors lie farther apart than the diameter."""
    return {i: set(np.flatnonzero(row > diameter).tolist()) for i, row in enumerate(squares)}


def _first_subset(graph: Graph, size: int) -> list[int]:
    """The first subset of that size, in lexicographic order, without an edge; there is one."""
    budget, kept = len(graph) - size, list[int]()
    for i in sorted(graph):
        if i not in graph or len(kept) == size:
            continue
        rest = without(graph, graph[i])
        if cover(rest, budget - len(graph[i])) is not None:
            budget -= len(graph[i])
            graph = rest
            kept.append(i)
        else:
            budget -= 1
            graph = without(graph, {i})
    return kept
