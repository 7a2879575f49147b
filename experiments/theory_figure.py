"""The picture of `experiments.theory`."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from detox.assignment.theory import bad_votes, enough_redundancy, expected_bad_votes, tail_bound
from detox.reports.figures import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = ("p", "q", "r", "system", "draws")
"""Of a cell, what the picture takes; of the simulations, how often q_e was 0, 1, ..."""
FEWEST = 1e-6  # the least probability or expectation shown
COLOURS = {15: "C0", 9: "C1", 5: "C2", 3: "C3", 7: "C4", 6: "C5"}  # of p/q


def tail(masses: Any) -> np.ndarray:
    """P(q_e >= k) for k = 0, 1, ... from the masses of q_e, or counts from counts."""
    return np.cumsum(np.asarray(masses)[::-1])[::-1]


def least_r(q: int) -> int:
    """The least odd r of which `enough_redundancy` holds."""
    r = math.ceil(3 + 2 * math.log2(q))
    return r + 1 - r % 2


def draw(results: list[dict[str, Any]]) -> "Figure":
    """Above E[q_e] against r for three p; below the tail at two, and E[q_e] at the paper's least r against p."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    workers = sorted({cell["p"] for cell in results})
    figure, ((*above,), (*below, growth)) = figure_of(2, 3, 14, 9)
    for axes, p in zip(above, workers, strict=True):
        _expectations(axes, [cell for cell in results if cell["p"] == p])
        axes.set(title=f"p = {p:,}", xlabel="group size r (workers)", ylabel="E[q_e] (bad votes per step)")
    for axes, p, ratio in zip(below, (workers[0], workers[-1]), (3, 9), strict=True):
        _tails(axes, [cell for cell in results if cell["p"] == p and p == ratio * cell["q"]])
        axes.set(title=f"p = {p:,}, q = p/{ratio} = {p // ratio}", xlabel="k (bad votes)", ylabel="P(q_e ≥ k)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _growth(growth)
    for axes in (*above, *below, growth):
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    marks = [
        Line2D([], [], color="black", label="exact"),
        Line2D([], [], color="black", linestyle="", marker="o", markersize=4, label="simulated: draws"),
        Line2D([], [], color="black", linestyle="", marker="o", markersize=9, label="the same, r ≥ 3 + 2 log2 q"),
        Line2D([], [], color="black", linestyle="", marker="x", markersize=9, label="simulated: the system's code"),
        Line2D([], [], color="grey", linestyle="--", label="the paper's bound for such r"),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle("Bad votes q_e of p workers in groups of r, q of them Byzantine at random")
    return figure


def _expectations(axes: Any, cells: list[dict[str, Any]]) -> None:
    axes.axhline(1, color="grey", linestyle="--")
    for ratio in sorted({cell["p"] // cell["q"] for cell in cells}, reverse=True):
        chosen, colour = [cell for cell in cells if cell["p"] == ratio * cell["q"]], COLOURS[ratio]
        exact = [(cell["r"], float(expected_bad_votes(cell["p"], cell["q"], cell["r"]))) for cell in chosen]
        axes.plot(*zip(*[(r, e) for r, e in exact if e > 0], strict=True), color=colour, label=f"q = p/{ratio}")
        for cell in chosen:
            for name, marker in (("draws", "o"), ("system", "x")):
                mean = np.average(np.arange(len(cell[name])), weights=cell[name])
                size = 9 if name == "system" or enough_redundancy(cell["q"], cell["r"]) else 4
                if mean > 0:
                    axes.plot(cell["r"], mean, marker, color=colour, markersize=size)
    axes.set(ylim=(FEWEST, 3000), xticks=sorted({cell["r"] for cell in cells}))
    axes.legend(fontsize=9, loc="upper right")


def _tails(axes: Any, cells: list[dict[str, Any]]) -> None:
    longest = 1
    for i, cell in enumerate(cells):
        exact = tail(np.array(bad_votes(cell["p"], cell["q"], cell["r"]), float))
        shown = np.flatnonzero(exact[1:] > FEWEST) + 1
        if not len(shown):
            continue
        longest = max(longest, shown[-1])
        axes.plot(shown, exact[shown], color=f"C{i}", label=f"r = {cell['r']}")
        for name, marker in (("draws", "o"), ("system", "x")):
            seen = tail(cell[name]) / sum(cell[name])
            size = 9 if name == "system" or enough_redundancy(cell["q"], cell["r"]) else 4
            axes.plot(np.arange(1, len(seen)), seen[1:], marker, color=f"C{i}", markersize=size)
    ks = np.arange(1, longest + 2)
    axes.plot(ks, [tail_bound(k) for k in ks], color="grey", linestyle="--")
    axes.set_ylim(FEWEST, 2)
    axes.legend(fontsize=9, loc="upper right")


def _growth(axes: Any) -> None:
    """Below q/p = (1 - sqrt(1/2))/2 the expectation falls with p, above it grows."""
    axes.axhline(1, color="grey", linestyle="--")
    for ratio in sorted(COLOURS):
        qs = np.unique(np.geomspace(8, 10**6 / ratio, 200).astype(int))
        points = [(ratio * q, float(expected_bad_votes(ratio * q, q, least_r(q)))) for q in qs.tolist()]
        axes.plot(*zip(*points, strict=True), color=COLOURS[ratio], label=f"q = p/{ratio}")
    axes.set(
        xscale="log",
        xlabel="workers p",
        ylabel="E[q_e] (bad votes per step)",
        title="at the least odd r ≥ 3 + 2 log2 q, exact",
    )
    axes.legend(fontsize=9, loc="lower left")
