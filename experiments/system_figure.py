"""The system in a drawing: who holds which file, and the messages of one file's group in a step."""

from typing import TYPE_CHECKING

from detox.reports.figures import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FILES = {"file 0": "#0072b2", "file 1": "#e69f00", "file 2": "#009e73"}
_HOLDERS = ((0, 4, 7), (1, 3, 8), (2, 5, 6))
"""Of each file: the groups of one step."""
_BYZANTINE = 7
_RED, _GREY = "#c44e52", "#dfe5ea"


def draw() -> "Figure":
    """Left the ranks of a step, right its messages in time, from top to bottom."""
    figure, ((where, when),) = figure_of(1, 2, 13, 6, widths=(1, 1.35))
    _ranks(where)
    _messages(when)
    return figure


def _ranks(axes: "Axes") -> None:
    """The PS and three ranks of three workers each, in the colour of the file that they hold."""
    axes.set(xlim=(-0.6, 8.6), ylim=(-2.3, 5.2), title="p = 9 workers in groups of r = 3, drawn anew in each step")
    axes.axis("off")
    _box(axes, 4, 4, "parameter server, rank 0: trusted", 5.6)
    for rank in range(3):
        middle = 3 * rank + 1
        axes.add_patch(_rectangle((middle - 1.35, -0.75), 2.7, 1.7))
        axes.text(middle, -1.15, f"rank {rank + 1}", ha="center", fontsize=10)
        axes.annotate(
            "", (middle, 1.0), (4 + (middle - 4) * 0.5, 3.55), arrowprops={"arrowstyle": "<->", "color": "black"}
        )
    for (_, colour), holders in zip(_FILES.items(), _HOLDERS, strict=True):
        for worker in holders:
            edge, width = (_RED, 3.5) if worker == _BYZANTINE else ("none", 0)
            axes.plot(worker, 0.25, "o", markersize=27, color=colour, markeredgecolor=edge, markeredgewidth=width)
            axes.text(worker, 0.25, str(worker), ha="center", va="center", color="white", fontsize=12)
    for place, (name, colour) in enumerate(_FILES.items()):
        axes.plot(0.4 + 2.6 * place, -1.9, "o", markersize=11, color=colour)
        axes.text(0.7 + 2.6 * place, -1.9, f"holds {name}", va="center", fontsize=10)
    axes.text(_BYZANTINE, -0.45, "Byzantine", ha="center", color=_RED, fontsize=10)


def _messages(axes: "Axes") -> None:
    """Of the group of file 0; a thick arrow is as long as the model."""
    places = {"PS": 0.0, "worker 0": 2.6, "worker 4": 4.4, "worker 7": 6.2}
    axes.set(xlim=(-1.2, 7.2), ylim=(10.6, -0.9), title="one step, and the group of file 0")
    axes.axis("off")
    for name, x in places.items():
        axes.plot([x, x], [0.2, 10.3], color="#b0b8bf", linewidth=1, zorder=0)
        axes.text(x, -0.2, name, ha="center", fontsize=11, color=_RED if name == "worker 7" else "black")
    ps, first, second, third = places.values()
    _text(axes, ps, 0.6, "draws files\nand groups")
    for x, at in ((first, 1.3), (second, 1.6), (third, 1.9)):
        _arrow(axes, (ps, at), (x, at + 0.35), long=True)
    axes.text(1.15, 1.2, "WEIGHTS, WORK", ha="center", fontsize=9)
    for x, begin, end in ((first, 1.75, 3.9), (second, 2.05, 4.4), (third, 2.35, 5.0)):
        axes.add_patch(_rectangle((x - 0.13, begin), 0.26, end - begin))
    axes.text(first + 0.25, 3.0, "computes\nthe gradient", fontsize=9, va="center")
    for x, begin, digest in ((first, 3.9, "5e1a.."), (second, 4.4, "5e1a.."), (third, 5.0, "b07c..")):
        _arrow(axes, (x, begin), (ps, begin + 0.35), long=False)
        axes.text(x - 0.25, begin - 0.08, f"CLAIM {digest}", ha="right", fontsize=9)
    _text(axes, ps, 5.85, "two of three agree:\nfile 0 has its vote")
    _arrow(axes, (ps, 6.4), (first, 6.7), long=False)
    axes.text(1.3, 6.4, "FETCH", ha="center", fontsize=9)
    _arrow(axes, (first, 7.0), (ps, 7.5), long=True)
    axes.text(1.4, 7.05, "GRADIENT", ha="center", fontsize=9)
    _text(axes, ps, 8.0, "hashes it: as claimed?")
    _text(axes, ps, 8.75, "shuffles the votes of all files,\naggregates them in two stages")
    _text(axes, ps, 9.6, "updates the weights")
    axes.text(third, 5.5, "a line in the ledger:\nworker 7 dissented", ha="center", va="top", fontsize=9, color=_RED)
    axes.text(5.0, 8.9, "thin: 64 bytes at most\nthick: as large as the model", ha="center", fontsize=9)


def _rectangle(corner: tuple[float, float], width: float, height: float):
    from matplotlib.patches import Rectangle

    return Rectangle(corner, width, height, facecolor=_GREY, edgecolor="#8a949c")


def _box(axes: "Axes", x: float, y: float, text: str, width: float) -> None:
    axes.add_patch(_rectangle((x - width / 2, y - 0.45), width, 0.9))
    axes.text(x, y, text, ha="center", va="center", fontsize=11)


def _text(axes: "Axes", x: float, y: float, text: str) -> None:
    box = {"facecolor": _GREY, "edgecolor": "#8a949c", "boxstyle": "round,pad=0.25"}
    axes.text(x, y, text, ha="center", va="center", fontsize=9, bbox=box, zorder=3)


def _arrow(axes: "Axes", begin: tuple[float, float], end: tuple[float, float], long: bool) -> None:
    style = {"arrowstyle": "-|>", "color": "#1d3b53", "linewidth": 3 if long else 1, "shrinkA": 0, "shrinkB": 2}
    axes.annotate("", end, begin, arrowprops=style)
