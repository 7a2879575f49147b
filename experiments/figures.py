"""The pictures of the docs, drawn again from the numbers that are kept beside them in docs/figures and docs/sdc.

python -m experiments.figures [--to docs/figures]
"""

import csv
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from detox.aggregators import PAIRS
from detox.reports.attack_map import attacks
from detox.reports.drawn import read_table
from detox.reports.figures import ends, figure_of, save, seconds, time_to
from detox.reports.forecast import Setting, forecast
from detox.reports.plan_chart import chart
from detox.reports.target import Target
from experiments import sdc_figure, system_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEPT = Path(__file__).parents[1] / "docs" / "figures"
_QUICK = "Fashion-MNIST, LeNet-5, p = 45, q = 5"


def accuracy(name: str, title: str) -> "Figure":
    """The accuracies at the end, of the table of that name."""
    return ends(read_table(KEPT / f"{name}.csv"), "accuracy", title)


def reached() -> "Figure":
    """Seconds until 75 %, under the reversed gradient."""
    times = [(one, one.seconds["reached"]) for one in read_table(KEPT / "reversed-quick.csv")]
    return time_to(times, Target("accuracy", 0.75, "higher"), f"{_QUICK}, reversed gradient; two seeds")


def step_time() -> "Figure":
    """Where the seconds of a step go at p = 45."""
    return seconds(read_table(KEPT / "step-time-quick.csv"), "ResNet-18 on digits, p = 45, q = 5, r = 3 with DETOX")


def attack_map() -> "Figure":
    """Every attack against every defence."""
    table: dict[str, dict[str, float]] = {}
    for one in read_table(KEPT / "attacks-quick.csv"):
        table.setdefault(one.label, {})[one.attack] = one.scores["accuracy"][-1].value
    return attacks(table, "accuracy", "digits, MLP, p = 15, q = 3 at random in each step")


def network() -> "Figure":
    """Seconds of a step by protocol, a panel a rate."""
    with (KEPT / "network.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rates = list(dict.fromkeys(row["rate"] for row in rows))
    figure, ((*panels,),) = figure_of(1, len(rates), 12, 3.2)
    for place, (axes, rate) in enumerate(zip(panels, rates, strict=True)):
        chosen = [row for row in rows if row["rate"] == rate]
        bars = axes.barh(range(len(chosen)), [float(row["seconds"]) for row in chosen], color="#3b6e8f")
        axes.bar_label(bars, [row["seconds"] for row in chosen], padding=3, fontsize=9)
        axes.set_yticks(range(len(chosen)), [row["protocol"] if place == 0 else "" for row in chosen])
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.set(title=rate, xlabel="seconds per step, the median of three")
    figure.suptitle("ResNet-18, p = 15 on three hosts, r = 3")
    return figure


ASSIGNMENTS = {
    "vanilla": "vanilla",
    "detox-fixed": "DETOX, groups known",
    "mols": "Latin squares",
    "ramanujan": "Ramanujan",
    "steiner": "Steiner",
    "detox-redrawn": "DETOX, groups secret",
}
"""Spelled as in the picture, in its order."""
_OF_ATTACKS = {
    "alie": ("ALIE", "#d55e00", "o"),
    "reversed": ("reversed", "#0072b2", "s"),
    "constant": ("constant", "#555555", "^"),
}


def byzshield() -> "Figure":
    """Accuracy by assignment and attack, a panel a number of workers; the columns are of a report's report.csv."""
    with (KEPT / "byzshield-quick.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["attack.kind"] in _OF_ATTACKS]
    sizes = [(row["p"], row["q"], row["r"]) for row in rows if row["name"] == "detox-fixed"]
    sizes = list(dict.fromkeys(sizes))
    figure, ((*panels,),) = figure_of(1, len(sizes), 13, 3.6)
    for axes, (p, q, r) in zip(panels, sizes, strict=True):
        of_one = [row for row in rows if row["p"] == p]
        names = [name for name in ASSIGNMENTS if any(row["name"] == name for row in of_one)]
        for kind, (label, colour, marker) in _OF_ATTACKS.items():
            found = {row["name"]: 100 * float(row["test_accuracy"]) for row in of_one if row["attack.kind"] == kind}
            if found:
                places = [names.index(name) for name in found]
                axes.plot(list(found.values()), places, marker, color=colour, markersize=8, label=label)
        axes.set_yticks(range(len(names)), [ASSIGNMENTS[name] for name in names])
        axes.invert_yaxis()
        axes.margins(y=0.12)
        axes.set(xlim=(0, 100), xlabel="test accuracy at the end (%)", title=f"p = {p}, q = {q}, r = {r}")
        axes.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def plan() -> "Figure":
    """The chart of docs/plan.md, which is exact."""
    setting = Setting(45, 5, 3, 1000, ())
    return chart(setting, [forecast(setting, name) for name in (*PAIRS, "mean")])


FIGURES: dict[str, Callable[[], "Figure"]] = {
    "alie-quick": lambda: accuracy("alie-quick", "Fashion-MNIST, MLP, p = 45, q = 5, b = 8, ALIE, z = 1; three seeds"),
    "signsgd-quick": lambda: accuracy("signsgd-quick", f"{_QUICK}, constant attack; two seeds"),
    "reversed-quick": lambda: accuracy("reversed-quick", f"{_QUICK}, reversed gradient; two seeds"),
    "reversed-quick-time": reached,
    "step-time-quick": step_time,
    "attacks-quick": attack_map,
    "byzshield-quick": byzshield,
    "network": network,
    "plan-45": plan,
    "sdc-quick": lambda: sdc_figure.draw_kept(KEPT.parent / "sdc"),
    "system": system_figure.draw,
}
"""By name of the file."""


def main() -> None:
    """Draws all."""
    parser = ArgumentParser("python -m experiments.figures", description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=KEPT, metavar="FOLDER")
    folder = parser.parse_args().to
    for name, draw in FIGURES.items():
        save(draw(), folder / f"{name}.png")


if __name__ == "__main__":
    main()
