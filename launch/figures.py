"""The pictures of a report: curves, seconds of a step, time to an accuracy, attacks against methods."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from detox.ps.stopwatch import PARTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from detox.launch.results import Method

_STYLES = ("-", "--", ":")
_LOSS = 30  # where a run diverges, its loss would hide all the others


def figure_of(rows: int, columns: int, width: float, height: float) -> tuple["Figure", Any]:
    """A figure and its axes, (rows, columns), that is drawn to files only.

    Raises:
        ImportError: there is no matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False)


def save(figure: "Figure", path: Any) -> None:
    """Writes a PNG, to a path or an open file, and frees the figure."""
    from matplotlib import pyplot

    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, format="png")
    pyplot.close(figure)


def picture(make: Callable[[], "Figure"], path: Path) -> int:
    """Draws into a PNG and says where, or in words why not; returns the exit status."""
    try:
        save(make(), path)
    except ImportError:
        print("detox-ps: pictures need the extra `plot`: pip install 'detox-ps[plot]'", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"detox-ps: {path}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"picture in {path}", file=sys.stderr)
    return 0


def overview(methods: Sequence["Method"], title: str) -> "Figure":
    """Accuracy over the steps, and where the seconds of a step go."""
    figure, axes = figure_of(1, 2, 12, 4)
    _curve(axes[0, 0], methods, "accuracy", by_time=False)
    axes[0, 0].legend(loc="center right", fontsize=9)
    parts(axes[0, 1], methods)
    figure.suptitle(title, parse_math=False)
    return figure


def curves(methods: Sequence["Method"], title: str) -> "Figure":
    """Accuracy and loss, over steps and over seconds; a band from the worst to the best seed."""
    figure, axes = figure_of(2, 2, 12, 8)
    for row, score in enumerate(("accuracy", "loss")):
        for column in (0, 1):
            _curve(axes[row, column], methods, score, by_time=bool(column))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    figure.suptitle(title, parse_math=False)
    return figure


def _curve(axes: "Axes", methods: Sequence["Method"], score: str, by_time: bool) -> None:
    place = 2 if score == "accuracy" else 3
    for number, method in enumerate(methods):
        points = list(zip(*(run.scores for run in method.runs), strict=False))
        x = [mean(of[by_time] for of in point) for point in points]
        y = np.array([[np.nan if of[place] is None else of[place] for of in point] for point in points], float)
        y = y.reshape(len(points), len(method.runs)) * (100 if score == "accuracy" else 1)
        # What is not finite has no point, and a mean of the other seeds would flatter.
        style, colour = _STYLES[number // 10 % len(_STYLES)], f"C{number % 10}"
        axes.plot(x, y.mean(axis=1), style, color=colour, marker="o", markersize=3, label=method.label)
        if len(method.runs) > 1:
            axes.fill_between(x, y.min(axis=1), y.max(axis=1), color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("seconds of training" if by_time else "step")
    if score == "accuracy":
        axes.set(ylabel="test accuracy (%)", ylim=(0, 101))
    else:
        axes.set(ylabel="test loss", yscale="log")
        if axes.get_ylim()[1] > _LOSS:
            axes.set(ylabel=f"test loss (cut off at {_LOSS})", ylim=(None, _LOSS))
    axes.grid(alpha=0.3)


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
    axes.set(xlabel="milliseconds of a step: the median of each part")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def time_to(methods: Sequence["Method"], accuracy: float, title: str) -> "Figure":
    """Seconds until a test accuracy, of the methods that came so far with every seed."""
    figure, axes = figure_of(1, 1, 10, 1.4 + 0.35 * len(methods))
    bars = axes[0, 0]
    times = [method.reached(accuracy) for method in methods]
    bars.barh(range(len(methods)), [time or 0 for time in times], color="C0")
    for place, time in enumerate(times):
        bars.annotate(
            " never" if time is None else f" {time:.1f} s", (time or 0, place), verticalalignment="center", fontsize=9
        )
    bars.set_yticks(range(len(methods)), [method.label for method in methods], parse_math=False)
    bars.invert_yaxis()
    bars.margins(x=0.12)
    bars.set(xlim=(0, None), xlabel=f"seconds of training until {accuracy:.1%} test accuracy")
    figure.suptitle(title, parse_math=False)
    return figure


def attacks(table: dict[str, dict[str, float]], title: str) -> "Figure":
    """Accuracy of each method (rows) under each attack (columns), the worst of each in the last column, by name."""
    kinds = sorted({kind for row in table.values() for kind in row})
    values = np.array([[100 * row.get(kind, np.nan) for kind in kinds] for row in table.values()])
    worst = [kinds[place] for place in np.nanargmin(values, axis=1)]
    values = np.column_stack([values, np.nanmin(values, axis=1)])
    figure, axes = figure_of(1, 1, 3.5 + 0.75 * len(kinds), 2.2 + 0.4 * len(table))
    cells = axes[0, 0]
    image = cells.imshow(values, cmap="RdYlGn", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if value < 12 or value > 92 else "black"
            name = f"\n{worst[row]}" if column == len(kinds) else ""
            cells.text(
                column, row, f"{value:.0f}{name}", ha="center", va="center", color=colour, fontsize=7 if name else 10
            )
    cells.set_xticks(range(len(kinds) + 1), [*kinds, "worst"], rotation=40, ha="right", parse_math=False)
    cells.set_yticks(range(len(table)), list(table), parse_math=False)
    cells.axvline(len(kinds) - 0.5, color="white", linewidth=4)
    cells.set(xlabel="attack", ylabel="method")
    figure.colorbar(image, label="test accuracy at the end (%)")
    figure.suptitle(title, parse_math=False)
    return figure
