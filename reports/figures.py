"""The pictures of a report: curves, seconds per step, time to a score, attacks against methods."""

import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detox.errors import UserError
from detox.ps.stopwatch import PARTS, WAITS
from detox.reports.drawn import CAUGHT, Drawn
from detox.reports.looks import lines, plain_ticks
from detox.reports.results import in_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

    from detox.reports.target import Target

_FORMATS = (".png", ".pdf", ".svg")
PART_COLOURS = dict(zip(PARTS, ("#c6cdd4", "#7aa6c2", "#3b6e8f", "#1d3b53", "#e0b060"), strict=True))
PART_COLOURS |= dict(zip(WAITS, ("#b8d8ba", "#c6cdd4", "#e5e0c0", "#d9a6a6"), strict=True))
"""Of the parts of a step; no rule's."""
_CAUGHT_COLOURS = {
    "of Byzantine workers, not outvoted": "#c44e52",
    "of Byzantine workers, outvoted (true positives)": "#8fbf8f",
    "of honest workers, outvoted (false positives)": "#e0b060",
}
_LOSS = 30  # where a run diverges, its loss would hide all the others


def figure_of(
    rows: int, columns: int, width: float, height: float, widths: Sequence[float] | None = None
) -> tuple["Figure", Any]:
    """A figure and its axes, (rows, columns), that is drawn to files only; `widths` are those of the columns.

    Raises:
        ImportError: there is no matplotlib.
    """
    os.environ["MPLBACKEND"] = "agg"  # a notebook's has a backend that is not installed here
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, width_ratios=widths)


def picture_file(text: str) -> Path:
    """For argparse: a file for a picture, whose name says the format."""
    path = Path(text)
    if path.suffix.lower() not in _FORMATS:
        raise ArgumentTypeError(f"{text}: a picture is a {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]} file")
    if path.is_dir():
        raise ArgumentTypeError(f"{text} is a folder")
    return path


def save(figure: "Figure", path: Path) -> None:
    """Writes a picture in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, format=path.suffix[1:].lower())


def picture(make: Callable[[], "Figure"], path: Path) -> None:
    """Draws into a file and says where; raises UserError where that cannot be done."""
    try:
        save(make(), path)
    except ImportError:
        raise UserError("pictures need the extra `plot`: pip install 'detox-ps[plot]'") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    print(f"picture in {path}", file=sys.stderr)


def overview(methods: Sequence[Drawn], title: str) -> "Figure":
    """The first score over the steps, which is the accuracy if there is one, and what became of bad gradients; without
    any, where the seconds of a step go.
    """
    figure, axes = figure_of(1, 2, 12, 4)
    _curve(axes[0, 0], methods, next(iter(_names(methods)), "accuracy"), by_time=False)
    _plain(axes[0, 0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=4, fontsize=9))
    if any(method.caught.get("bad_gradients") for method in methods):
        positives(axes[0, 1], methods)
    else:
        parts(axes[0, 1], methods)
    figure.suptitle(title, parse_math=False)
    return figure


def curves(methods: Sequence[Drawn], title: str) -> "Figure":
    """Every score, over steps and over seconds; a band from the worst to the best seed."""
    names = _names(methods) or ["loss"]
    figure, axes = figure_of(len(names), 2, 12, 4 * len(names))
    for row, score in enumerate(names):
        for column in (0, 1):
            _curve(axes[row, column], methods, score, by_time=bool(column))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    _plain(figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9))
    figure.suptitle(title, parse_math=False)
    return figure


def _names(methods: Sequence[Drawn]) -> list[str]:
    """The scores that some method has: accuracy, loss, then others as they come."""
    found = dict.fromkeys(name for method in methods for name in method.scores)
    return sorted(found, key=lambda name: ("accuracy", "loss", name).index(name))


def _curve(axes: "Axes", methods: Sequence[Drawn], score: str, by_time: bool) -> None:
    for method, style in zip(methods, lines([method.look for method in methods]), strict=True):
        points = method.scores.get(score, [])
        x = [method.clock[point.step] if by_time else point.step for point in points]
        y = np.array(points).reshape(-1, 4)[:, 1:].T * (100 if score == "accuracy" else 1)
        axes.plot(x, y[0], markersize=3, label=method.label, **style)
        if (y[1] != y[2]).any():
            axes.fill_between(x, y[1], y[2], color=style["color"], alpha=0.15, linewidth=0)
    axes.set_xlabel("seconds of training" if by_time else "step")
    if score == "accuracy":
        axes.set(ylabel="test accuracy (%)", ylim=(0, 101))
    elif score == "loss":
        _scale_of_loss(axes)
    else:
        axes.set_ylabel(f"test {score}", parse_math=False)
    axes.grid(alpha=0.3)


def _scale_of_loss(axes: "Axes") -> None:
    """Logarithmic where no loss is 0 or less."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines] or [np.empty(0)])
    seen = values[np.isfinite(values)]
    axes.set(ylabel="test loss", yscale="log" if (seen > 0).all() else "linear")
    if len(seen) and seen.max() > _LOSS > seen.min():
        axes.set(ylabel=f"test loss (cut off at {_LOSS})", ylim=(None, _LOSS))
    if len(seen) and axes.get_yscale() == "log":
        plain_ticks(axes.yaxis)


def _plain(legend: "Legend") -> None:
    """A run is named by its user: no mathematics in that."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def ends(methods: Sequence[Drawn], score: str, title: str) -> "Figure":
    """A score at the end: the mean of the seeds, and a bar from the worst to the best; pairs side by side."""
    figure, ((axes,),) = figure_of(1, 1, 9, 1.4 + 0.36 * len(methods))
    share = 100 if score == "accuracy" else 1
    styles = lines([method.look for method in methods])
    for place, (method, style) in enumerate(zip(methods, styles, strict=True)):
        _, *y = (value * share for value in method.scores[score][-1])
        axes.plot(y[1:], [place, place], linewidth=3, color=style["color"], linestyle=style["linestyle"])
        axes.plot(y[0], place, style["marker"], color=style["color"], markersize=8)
        said = f"{y[0]:.1f}" if share > 1 else f"{y[0]:.4g}"
        axes.annotate(said, (max(y), place), (8, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(methods)), [method.label for method in methods], parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.12)
    axes.set_xlabel(f"test {score} at the end" + " (%)" * (share > 1), parse_math=False)
    axes.grid(axis="x", alpha=0.3)
    figure.suptitle(title, parse_math=False)
    return figure


def seconds(methods: Sequence[Drawn], title: str) -> "Figure":
    """Where the seconds of a step go."""
    figure, axes = figure_of(1, 1, 10, 1.6 + 0.35 * len(methods))
    parts(axes[0, 0], methods)
    figure.suptitle(title, parse_math=False)
    return figure


def parts(axes: "Axes", methods: Sequence[Drawn]) -> None:
    """One bar a method, of the medians of its parts, which add up to the median step only roughly."""
    places, left = range(len(methods)), np.zeros(len(methods))
    longest = max((sum(method.seconds[part] for part in PARTS) for method in methods), default=0)
    unit, scale = ("seconds", 1) if longest >= 1 else ("milliseconds", 1000)
    split = all(part in method.seconds for method in methods for part in WAITS)
    for part in (*WAITS, *PARTS[1:]) if split else PARTS:
        widths = np.array([scale * method.seconds[part] for method in methods])
        label = "compute + wait" if part == "wait" else part
        axes.barh(places, widths, left=left, label=label, color=PART_COLOURS[part])
        left += widths
    axes.set_yticks(places, [method.label for method in methods], parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel=f"{unit} per step: the median of each part")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def positives(axes: "Axes", methods: Sequence[Drawn]) -> None:
    """One bar a method: the gradients of Byzantine workers, outvoted or not, and honest ones that were outvoted."""
    places, left = range(len(methods)), np.zeros(len(methods))
    bad, true, false = (np.array([method.caught.get(name, 0) for method in methods]) for name in CAUGHT)
    for values, (what, colour) in zip((bad - true, true, false), _CAUGHT_COLOURS.items(), strict=True):
        bars = axes.barh(places, values, left=left, label=what, color=colour)
        axes.bar_label(bars, [str(value) if value else "" for value in values], label_type="center", fontsize=9)
        left += values
    axes.set_yticks(places, [method.label for method in methods], parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel="gradients of the whole run")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize=9)


def time_to(times: Sequence[tuple[Drawn, float | None]], target: "Target", title: str) -> "Figure":
    """Seconds until a score, of the methods that came so far with every seed; None: never."""
    figure, axes = figure_of(1, 1, 10, 1.4 + 0.35 * len(times))
    bars = axes[0, 0]
    styles = lines([method.look for method, _ in times])
    for place, ((method, time), style) in enumerate(zip(times, styles, strict=True)):
        face = {"facecolor": style["color"]} if method.look.detox else {"facecolor": "white", "hatch": "///"}
        bars.barh(place, time or 0, edgecolor=style["color"], **face)
        said = " never" if time is None else f" {time:.1f} s"
        bars.annotate(said, (time or 0, place), verticalalignment="center", fontsize=9)
    bars.set_yticks(range(len(times)), [method.label for method, _ in times], parse_math=False)
    bars.invert_yaxis()
    bars.margins(x=0.12)
    bars.set(xlim=(0, None))
    until = f"test {target.name} {in_figures(target.name, target.value)}"
    bars.set_xlabel(f"seconds of training until {until}", parse_math=False)
    figure.suptitle(title, parse_math=False)
    return figure
