"""The picture of benchmarks.aggregation_cost: seconds of vote and aggregation, by workers and by parameters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from detox.aggregators import PAIRS
from detox.reports.figures import figure_of
from detox.reports.looks import Look, lines, plain_ticks, spelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = (("workers", "p", "workers p", "d = 200,000"), ("parameters", "d", "parameters d", "p = 45"))
_FEW, _MANY = 45, 225  # workers between which growth with p and with its square is shown


def draw(rows: Sequence[dict[str, str]]) -> "Figure":
    """Two panels on logarithmic axes, a line a method."""
    names = list(dict.fromkeys(row["rule"] for row in rows))
    names.sort(key=lambda name: _look(name).order)
    looks = dict(zip(names, lines([_look(name) for name in names]), strict=True))
    figure, ((*panels,),) = figure_of(1, 2, 11, 4.8)
    for axes, (axis, key, label, fixed) in zip(panels, _PANELS, strict=True):
        for name, look in looks.items():
            points = [
                (int(row[key]), float(row["seconds"])) for row in rows if (row["axis"], row["rule"]) == (axis, name)
            ]
            axes.loglog(*zip(*points, strict=True), **look, markersize=4, label=spelled(name))
        axes.set(xlabel=label, ylabel="seconds", title=f"vote (r = 3) and aggregation, {fixed}")
        axes.grid(which="both", alpha=0.2)
        plain_ticks(axes.xaxis)
        plain_ticks(axes.yaxis)
    start = 1.6 * next(
        float(row["seconds"]) for row in rows if (row["axis"], row["rule"], row["p"]) == ("workers", "krum", str(_FEW))
    )
    for power, note in ((1, "p"), (2, "p²")):
        end = start * (_MANY / _FEW) ** power
        panels[0].plot([_FEW, _MANY], [start, end], color="grey", linewidth=1)
        panels[0].annotate(note, (_MANY, end), color="grey")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names))
    return figure


def _look(name: str) -> Look:
    return Look.of(name, 3 if name in PAIRS else 1)
