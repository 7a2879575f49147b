"""The picture of `detox-ps blame`: workers over steps, coloured by the worst that each did."""

from typing import TYPE_CHECKING, Any

import numpy as np

from detox.config import Config
from detox.reports.contradictions import Contradictions, draw
from detox.reports.evidence import KINDS
from detox.reports.figures import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "agreed": "#eef3ee",
    "quarantined": "#b9bec4",
    "spared": "#d9d3c7",
    "caught_up": "#d5e8df",
    "joined": "#c3dcc9",
    "left_out": "#cfc6b4",
    "passed_over": "#8fb6a8",
    "late": "#a6dbe8",
    "undecided": "#5aa9e6",
    "silent": "#7d8794",
    "dead": "#3a3f47",
    "malformed": "#c9a8ee",
    "withheld": "#2f5fb3",
    "nonfinite": "#f7d038",
    "dissented": "#f58a1f",
    "equivocated": "#e0409f",
    "lied": "#d7191c",
    "convicted": "#6b0010",
    "proven": "#000000",
}
"""By kind of verdict, see evidence.KINDS."""
_COLUMNS = 400  # of the picture; where there are more steps, several share one


def heatmap(
    entries: list[dict[str, Any]], config: Config, steps: int, contradictions: Contradictions, q: int
) -> "Figure":
    """A ledger: a row per worker; where workers contradicted each other, the graph of that beside it.

    Args:
        entries: the lines of ledger.jsonl.
        config: of the run.
        steps: steps made.
        contradictions: who contradicted whom.
        q: Byzantine workers to assume, at most.

    Raises:
        ImportError: there is no matplotlib.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    unnamed = sorted({entry["rank"] for entry in entries if entry["worker"] is None})
    names = [str(worker) for worker in range(config.p)] + [f"? (rank {rank})" for rank in unnamed]
    if len(names) <= 20:
        known = {entry["worker"]: entry for entry in entries if entry["worker"] is not None}
        for worker, entry in known.items():
            names[worker] = f"{worker} (rank {entry['rank']}, {entry['host'][:16]})"
    width = -(-steps // _COLUMNS)
    grid = severity(entries, config.p, unnamed, steps, width)
    drawn = bool(contradictions.steps)
    height = max(6.0 * drawn, min(14.0, 2.2 + 0.17 * len(names)))
    # The graph is a square: it has as much of the width as the height allows.
    figure, grid_of_axes = figure_of(1, 1 + drawn, 12 + height * drawn, height, widths=[12, height][: 1 + drawn])
    axes = grid_of_axes[0, 0]
    if drawn:
        draw(grid_of_axes[0, 1], contradictions, q, config.p)
    axes.imshow(
        grid,
        cmap=ListedColormap([COLOURS[kind] for kind in KINDS]),
        vmin=-0.5,
        vmax=len(KINDS) - 0.5,
        extent=(0.5, 0.5 + width * grid.shape[1], len(names) - 0.5, -0.5),
        aspect="auto",
        interpolation="nearest",
    )
    every = 1 + len(names) // 80
    # A host names itself: no mathematics in that.
    axes.set_yticks(range(0, len(names), every), names[::every], fontsize=8, parse_math=False)
    axes.set_yticks([row - 0.5 for row in range(1, len(names))], minor=True)
    axes.grid(axis="y", which="minor", color="white", linewidth=0.8)
    axes.tick_params(axis="y", which="both", length=0)
    shared = f" (a column is {width} steps and shows the worst in them)" if width > 1 else ""
    axes.set(xlabel=f"step{shared}", ylabel="worker")
    axes.set_title(f"{config.name}: {steps} steps, p = {config.p}, q = {config.q}", parse_math=False)
    patches = [
        Patch(facecolor=COLOURS[kind], edgecolor="#999999", label=f"{kind}: {KINDS[kind]}")
        for level, kind in reversed(list(enumerate(KINDS)))
        if (grid == level).any()
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def severity(entries: list[dict[str, Any]], p: int, unnamed: list[int], steps: int, width: int) -> np.ndarray:
    """The cells of the picture: the worst kind of entry in each, as its place in KINDS.

    Args:
        entries: the lines of ledger.jsonl.
        p: workers.
        unnamed: ranks of entries that name no worker; each has a row below the workers.
        steps: steps made; entries may be of later ones.
        width: steps a column.

    Returns:
        (p + len(unnamed), columns) int.
    """
    levels = {kind: level for level, kind in enumerate(KINDS)}
    columns = -(-max([steps, *(entry["step"] for entry in entries)]) // width)
    grid = np.zeros((p + len(unnamed), columns), int)
    for entry in entries:
        row = p + unnamed.index(entry["rank"]) if entry["worker"] is None else entry["worker"]
        column = max(0, entry["step"] - 1) // width
        cells = grid[row, column:] if entry["kind"] == "quarantined" else grid[row, column : column + 1]
        np.maximum(cells, levels.get(entry["kind"], 0), out=cells)  # a note is no worse than what it is about
    return grid
