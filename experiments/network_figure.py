"""The picture of experiments/network.sh: where the seconds of a step go, by the rate of the links."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from detox.reports.drawn import Drawn
from detox.reports.figures import figure_of, parts, picture, picture_file
from detox.reports.methods import methods
from detox.reports.report import read
from detox.reports.results import FinishedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RATES = {"100mbit": "100 Mb/s", "1gbit": "1 Gb/s", "10gbit": "10 Gb/s"}


def main(argv: list[str]) -> int:
    """Reads the folder of each rate and draws one panel of each."""
    parser = ArgumentParser("python -m experiments.network_figure", description=__doc__)
    parser.add_argument("rates", type=Path, nargs="+", metavar="FOLDER", help="the runs over links of one rate")
    parser.add_argument("--plot", type=picture_file, required=True, metavar="FILE")
    options = parser.parse_args(argv)
    found = [read(sorted(path.parent for path in folder.glob("*/done"))) for folder in options.rates]
    for folder, runs in zip(options.rates, found, strict=True):
        if not runs:
            print(f"{folder}: there is no finished run in it", file=sys.stderr)
            return 2
    return picture(lambda: draw(options.rates, found), options.plot)


def draw(rates: list[Path], found: list[list[FinishedRun]]) -> "Figure":
    """One panel a rate."""
    figure, axes = figure_of(len(rates), 1, 10, 2.4 * len(rates))
    for panel, folder, runs in zip(axes[:, 0], rates, found, strict=True):
        parts(
            panel, [Drawn.of(method) for method in methods(sorted(runs, key=lambda run: -run.summary["bytes_into_ps"]))]
        )
        panel.set_title(_RATES.get(folder.name, folder.name))
    for panel in axes[1:, 0]:
        panel.get_legend().remove()
    return figure


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
