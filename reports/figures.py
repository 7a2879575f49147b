"""The pictures of a report: curves, seconds per step, time to a score, attacks against methods."""

import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from detox.errors import UserError
from detox.ps.stopwatch import PARTS
from detox.reports.results import in_figures, score_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

    from detox.reports.methods import Method
    from detox.reports.target import Target

_FORMATS = (".png", ".pdf", ".svg")
_STYLES = ("-", "--", ":")
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


def overview(methods: Sequence["Method"], title: str) -> "Figure":
    """The first score over the steps, which is the accuracy if there is one, and where the seconds of a step go."""
    figure, axes = figure_of(1, 2, 12, 4)
    names = score_names([run for method in methods for run in method.runs])
    _curve(axes[0, 0], methods, next(iter(names), "accuracy"), by_time=False)
    _plain(axes[0, 0].legend(loc="center right", fontsize=9))
    parts(axes[0, 1], methods)
    figure.suptitle(title, parse_math=False)
    return figure


def curves(methods: Sequence["Method"], title: str) -> "Figure":
    """Every score, over steps and over seconds; a band from the worst to the best seed."""
    names = score_names([run for method in methods for run in method.runs]) or ["loss"]
    figure, axes = figure_of(len(names), 2, 12, 4 * len(names))
    for row, score in enumerate(names):
        for column in (0, 1):
            _curve(axes[row, column], methods, score, by_time=bool(column))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    _plain(figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9))
    figure.suptitle(title, parse_math=False)
    return figure


def _curve(axes: "Axes", methods: Sequence["Method"], score: str, by_time: bool) -> None:
    for number, method in enumerate(methods):
        has = [[one for one in run.scores if score in one.scores] for run in method.runs]
        points = list(zip(*has, strict=False))
        x = [mean(of.seconds if by_time else of.step for of in point) for point in points]
        values = [[np.nan if of.scores[score] is None else of.scores[score] for of in point] for point in points]
        y = np.array(values, float).reshape(len(points), len(method.runs)) * (100 if score == "accuracy" else 1)
        # What is not finite has no point, and a mean of the other seeds would flatter.
        style, colour = _STYLES[number // 10 % len(_STYLES)], f"C{number % 10}"
        axes.plot(x, y.mean(axis=1), style, color=colour, marker="o", markersize=3, label=method.label)
        if len(method.runs) > 1:
            axes.fill_between(x, y.min(axis=1), y.max(axis=1), color=colour, alpha=0.15, linewidth=0)
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


def _plain(legend: "Legend") -> None:
    """A run is named by its user: no mathematics in that."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def seconds(methods: Sequence["Method"], title: str) -> "Figure":
    """Where the seconds of a step go."""
    figure, axes = figure_of(1, 1, 10, 1.6 + 0.35 * len(methods))
    parts(axes[0, 0], methods)
    figure.suptitle(title, parse_math=False)
    return figure


def parts(axes: "Axes", methods: Sequence["Method"]) -> None:
    """One bar a method, of the medians of its parts, which add up to the median step only roughly."""
    places, left = range(len(methods)), np.zeros(len(methods))
    for part in PARTS:
        widths = np.array([1000 * method.median_seconds[part] for method in methods])
        axes.barh(places, widths, left=left, label="compute + wait" if part == "wait" else part)
        left += widths
    axes.set_yticks(places, [method.label for method in methods], parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel="milliseconds per step: the median of each part")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def time_to(methods: Sequence["Method"], target: "Target", title: str) -> "Figure":
    """Seconds until a score, of the methods that came so far with every seed."""
    figure, axes = figure_of(1, 1, 10, 1.4 + 0.35 * len(methods))
    bars = axes[0, 0]
    times = [method.reached(target) for method in methods]
    bars.barh(range(len(methods)), [time or 0 for time in times], color="C0")
    for place, time in enumerate(times):
        bars.annotate(
            " never" if time is None else f" {time:.1f} s", (time or 0, place), verticalalignment="center", fontsize=9
        )
    bars.set_yticks(range(len(methods)), [method.label for method in methods], parse_math=False)
    bars.invert_yaxis()
    bars.margins(x=0.12)
    bars.set(xlim=(0, None))
    until = f"test {target.name} {in_figures(target.name, target.value)}"
    bars.set_xlabel(f"seconds of training until {until}", parse_math=False)
    figure.suptitle(title, parse_math=False)
    return figure


def attacks(table: dict[str, dict[str, float]], score: str, title: str) -> "Figure":
    """A score of each method (rows) under each attack (columns), the worst of each in the last column, by name.

    Args:
        table: by method and attack; a loss that is not finite is infinite.
        score: "accuracy" or "loss".
        title: of the picture.
    """
    share = score == "accuracy"
    kinds = sorted({kind for row in table.values() for kind in row})
    values = np.array([[row.get(kind, np.nan) for kind in kinds] for row in table.values()]) * (100 if share else 1)
    places = (np.nanargmin if share else np.nanargmax)(values, axis=1)
    worst = [kinds[place] for place in places]
    values = np.column_stack([values, values[range(len(table)), places]])
    figure, axes = figure_of(1, 1, 3.5 + 0.75 * len(kinds), 2.2 + 0.4 * len(table))
    cells = axes[0, 0]
    seen = np.where(np.isfinite(values), values, np.nan)
    limits = {"vmin": 0, "vmax": 100} if share else {}
    image = cells.imshow(seen, cmap="RdYlGn" if share else "RdYlGn_r", aspect="auto", **limits)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            pale = np.isinf(value) or 0.12 <= image.norm(value) <= 0.92
            name = f"\n{worst[row]}" if column == len(kinds) else ""
            said = f"{value:.0f}" if share or np.isinf(value) else f"{value:.2f}"
            cells.text(
                column, row, said + name, ha="center", va="center", color="black" if pale else "white",
                fontsize=7 if name else 10,
            )  # fmt: skip
    cells.set_xticks(range(len(kinds) + 1), [*kinds, "worst"], rotation=40, ha="right", parse_math=False)
    cells.set_yticks(range(len(table)), list(table), parse_math=False)
    cells.axvline(len(kinds) - 0.5, color="white", linewidth=4)
    cells.set(xlabel="attack", ylabel="method")
    figure.colorbar(image, label=f"test {score} at the end" + " (%)" * share)
    figure.suptitle(title, parse_math=False)
    return figure
