"""The picture of experiments/sdc.sh, from its kept tables: what each detector sees, by class, and whom it names.

python -m experiments.sdc_figure FOLDER --plot FILE
"""

import csv
import sys
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detox.reports.figures import figure_of, picture, picture_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CLASSES = ("zeros", "one bit", "several bits", "stripes", "NaN or infinity")
_ORDER = (
    "NaN check", "replay, 1 step in 45", "replay, every step", "audit 1/45", "audit 2/45", "PS audits 1 file",
    "tolerance 1e-3", "r = 3 lazy", "r = 3",
)  # fmt: skip


def main(argv: list[str]) -> int:
    """Reads the tables and draws."""
    parser = ArgumentParser("python -m experiments.sdc_figure", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with runs.csv and classes.csv")
    parser.add_argument("--plot", type=picture_file, required=True, metavar="FILE")
    options = parser.parse_args(argv)
    picture(lambda: draw_kept(options.folder), options.plot)
    return 0


def draw_kept(folder: Path) -> "Figure":
    """From the tables runs.csv and classes.csv in that folder."""
    runs, classes = (_read(folder / f"{name}.csv") for name in ("runs", "classes"))
    return draw(runs, classes)


def draw(runs: list[dict[str, str]], classes: list[dict[str, str]]) -> "Figure":
    """Left the recall of each detector by class, repeatable faults apart; right what is named by when, at what cost."""
    figure, ((once, again, names),) = figure_of(1, 3, 17, 5)
    for axes, repeatable, title in ((once, False, "faults that come anew"), (again, True, "repeatable faults")):
        _recall(axes, [row for row in classes if ("repeatable" in row["fault"]) == repeatable])
        axes.set_title(f"wrong gradients that are seen, {title}", fontsize=10)
    once.legend(fontsize=8)
    again.set_yticklabels([])
    _named(names, runs)
    return figure


def _recall(axes, rows) -> None:
    wrong, seen = Counter(), Counter()
    for row in rows:
        key = row["detector"], row["class"]
        wrong[key] += float(row["wrong"])
        seen[key] += float(row["seen"])
    detectors = [name for name in _ORDER if any(key[0] == name for key in wrong)]
    height = 0.8 / len(_CLASSES)
    for number, kind in enumerate(_CLASSES):
        shares = [seen[name, kind] / wrong[name, kind] if wrong[name, kind] else np.nan for name in detectors]
        axes.barh(np.arange(len(detectors)) + number * height - 0.4, shares, height, label=kind, align="edge")
    axes.set_yticks(range(len(detectors)), detectors, fontsize=9)
    axes.set(xlim=(0, 1.02), xlabel="share of the corrupted gradients")
    axes.invert_yaxis()


def _named(axes, runs) -> None:
    detectors = [name for name in _ORDER if any(row["detector"] == name for row in runs)]
    for name, number in zip(detectors, range(len(detectors)), strict=True):
        of_one = [row for row in runs if row["detector"] == name]
        overhead = max(0.005, np.mean([float(row["overhead"]) for row in of_one]))
        share = sum(float(row["named"]) for row in of_one) / sum(float(row["faulty"]) for row in of_one)
        axes.scatter(overhead, share, s=60, color=f"C{number}", zorder=3)
        axes.annotate(name, (overhead, share), xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.set(xscale="log", xlim=(0.004, 12), ylim=(-0.05, 1.12), ylabel="faulty workers that are named")
    axes.set_xlabel("copies computed beyond one per file (0.005: none)")
    axes.set_title("faulty workers that are named, and what it costs", fontsize=10)
    axes.grid(alpha=0.3)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
