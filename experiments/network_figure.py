"""The picture of experiments/network.sh: where the seconds of a step go, by the rate of the links."""

import sys
from argparse import ArgumentParser
from pathlib import Path

from detox.launch.figures import figure_of, parts, save
from detox.launch.results import FinishedRun, methods

_RATES = {"100mbit": "100 Mb/s", "1gbit": "1 Gb/s", "10gbit": "10 Gb/s"}


def main(argv: list[str]) -> None:
    """Reads the folder of each rate and draws one panel of each."""
    parser = ArgumentParser("python -m experiments.network_figure", description=__doc__)
    parser.add_argument("rates", type=Path, nargs="+", metavar="FOLDER", help="the runs over links of one rate")
    parser.add_argument("--plot", type=Path, required=True, metavar="FILE.png")
    options = parser.parse_args(argv)
    figure, axes = figure_of(len(options.rates), 1, 10, 2.4 * len(options.rates))
    for panel, folder in zip(axes[:, 0], options.rates, strict=True):
        runs = [FinishedRun.read(path.parent) for path in sorted(folder.glob("*/done"))]
        parts(panel, methods(sorted(runs, key=lambda run: -run.summary["bytes_into_ps"])))
        panel.set_title(_RATES.get(folder.name, folder.name))
    for panel in axes[1:, 0]:
        panel.get_legend().remove()
    save(figure, options.plot)


if __name__ == "__main__":
    main(sys.argv[1:])
