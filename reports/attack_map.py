"""The picture of every attack against every method."""

from typing import TYPE_CHECKING

import numpy as np

from detox.reports.figures import figure_of
from detox.reports.looks import spelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def attacks(table: dict[str, dict[str, float]], score: str, title: str, columns: str = "attack") -> "Figure":
    """A score of each method (rows) under each attack (columns), the worst of each in the last column, by name.

    Rows go from the best worst case to the worst. Half of the colours are for the better four fifths of the cells,
    for these are near each other; the bar marks where that is.

    Args:
        table: by method and attack; a loss that is not finite is infinite.
        score: "accuracy" or "loss".
        title: of the picture.
        columns: what they are.
    """
    from matplotlib.colors import TwoSlopeNorm

    share = score == "accuracy"
    kinds = sorted({kind for row in table.values() for kind in row})
    values = np.array([[row.get(kind, np.nan) for kind in kinds] for row in table.values()]) * (100 if share else 1)
    places = (np.nanargmin if share else np.nanargmax)(values, axis=1)
    worst = values[range(len(table)), places]
    order = np.argsort(-worst if share else worst, kind="stable")
    names = [spelled(list(table)[row]) for row in order]
    values, worst, places = values[order], worst[order], places[order]
    shown = np.column_stack([values, worst])
    seen = np.where(np.isfinite(shown), shown, np.nan)
    low, high, middle = _scale(seen, share)
    figure, axes = figure_of(1, 1, 3.5 + 0.75 * len(kinds), 2.2 + 0.4 * len(table))
    cells = axes[0, 0]
    norm = TwoSlopeNorm(middle, low, high)
    image = cells.imshow(seen, cmap="viridis" if share else "viridis_r", norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(shown):
        if not np.isnan(value):
            light = not np.isinf(value) and sum(image.cmap(norm(value))[:3]) > 1.5
            name = f"\n{kinds[places[row]]}" if column == len(kinds) else ""
            said = f"{value:.0f}" if share or np.isinf(value) else f"{value:.2f}"
            colour = "black" if light or np.isinf(value) else "white"
            cells.text(column, row, said + name, ha="center", va="center", color=colour, fontsize=7 if name else 10)
    cells.set_xticks(range(len(kinds) + 1), [*kinds, "worst"], rotation=40, ha="right", parse_math=False)
    cells.set_yticks(range(len(names)), names, parse_math=False)
    cells.axvline(len(kinds) - 0.5, color="white", linewidth=4)
    cells.set(xlabel=columns, ylabel="method")
    bar = figure.colorbar(image, label=f"test {score} at the end" + " (%)" * share)
    ticks = np.unique([*np.linspace(low, middle, 4), *np.linspace(middle, high, 4)]).tolist()
    bar.set_ticks(ticks, labels=[f"{tick:.0f}" if share else f"{tick:.3g}" for tick in ticks])
    bar.ax.axhline(middle, color="white", linewidth=2)
    figure.suptitle(title, parse_math=False)
    return figure


def _scale(seen: np.ndarray, share: bool) -> tuple[float, float, float]:
    """Least, greatest, and where the two halves of the colours meet; in that order of size, with room between."""
    found = seen[np.isfinite(seen)]
    if not len(found):
        return 0.0, 1.0, 0.5
    low, high = (0.0, 100.0) if share else (float(found.min()), float(found.max()))
    room = (high - low) / 50 or 1.0
    high = max(high, low + 2 * room)
    middle = float(np.quantile(found, 0.2 if share else 0.8))
    return low, high, min(max(round(middle) if share else middle, low + room), high - room)
