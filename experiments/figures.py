"""The pictures of the docs, drawn again from the numbers that are kept beside them in docs/figures and docs/sdc.

python -m experiments.figures [--to docs/figures]
"""

import csv
import json
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from detox.aggregators import PAIRS
from detox.reports.attack_map import attacks
from detox.reports.drawn import read_table
from detox.reports.figures import ends, figure_of, save, seconds, time_to
from detox.reports.forecast import Setting, forecast
from detox.reports.looks import Look, lines
from detox.reports.plan_chart import chart
from detox.reports.target import Target
from experiments import cost_figure, mean_estimation, sdc_figure, system_figure, theory_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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


def attacks_on_digits() -> "Figure":
    """Every attack against every defence, of a report's numbers."""
    table: dict[str, dict[str, float]] = {}
    for one in read_table(KEPT / "attacks-digits.csv"):
        table.setdefault(one.label, {})[one.attack] = one.scores["accuracy"][-1].value
    return attacks(table, "accuracy", "digits, MLP, p = 15, q = 3 at random in each step")


def attack_map() -> "Figure":
    """Every attack against every defence, files alike; rows of experiments.simulation."""
    rows = [row for row in _rows("attacks-quick") if row["q"] != "2" and row["split"] == "iid"]
    table = _means(rows, lambda row: row["attack"].replace("alie, 1", "alie, z = 1"))
    return attacks(table, "accuracy", "Fashion-MNIST, MLP, p = 45, q = 5")


def alie_map() -> "Figure":
    """ALIE at z = 1 by how unlike the files are and how many attack; rows of experiments.simulation."""
    rows = [row for row in _rows("attacks-quick") if row["attack"] in ("none", "alie, 1")]
    unlike = {row["method"] for row in rows if row["split"] != "iid"}
    rows = [row for row in rows if row["method"] in unlike]
    table = _means(rows, lambda row: f"{row['split'].replace('dirichlet', 'Dir.')}, {row['q']}")
    return attacks(
        table, "accuracy", "Fashion-MNIST, MLP, p = 45, ALIE, z = 1", "how labels are split over files, and q"
    )


def _means(rows: Sequence[dict[str, str]], of: Callable[[dict[str, str]], str]) -> dict[str, dict[str, float]]:
    """By method and what `of` says of a row, the mean accuracy of the seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        found.setdefault(row["method"], {}).setdefault(of(row), []).append(float(row["accuracy"]))
    return {method: {kind: mean(seeds) for kind, seeds in cells.items()} for method, cells in found.items()}


def rates() -> "Figure":
    """Accuracy under ALIE by learning rate, a line a method; rows of experiments.simulation."""
    rows = _rows("alie-rate-quick")
    names = sorted(dict.fromkeys(row["method"] for row in rows), key=lambda name: _look(name).order)
    figure, ((axes,),) = figure_of(1, 1, 9, 4.6)
    for name, look in zip(names, lines([_look(name) for name in names]), strict=True):
        points = [(float(row["lr"]), 100 * float(row["accuracy"])) for row in rows if row["method"] == name]
        axes.plot(*zip(*points, strict=True), **look, markersize=5, label=name)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="learning rate, constant", ylabel="accuracy on held-out samples at the end (%)", ylim=(0, 100))
    axes.set_title("Fashion-MNIST, MLP, p = 45, q = 5, b = 8, ALIE, z = 1; one seed")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", ncols=2)
    return figure


def _look(method: str) -> Look:
    """Of a method as rows spell it; Bulyan scored once has the colour of Krum, which is not there."""
    rule = {"D-Med": "median", "Bulyan, scored once": "krum"}.get(method, method.removeprefix("D-").split(",")[0])
    return Look.of(rule.lower().replace("-", "_"), 3 if method.startswith("D-") else 1)


def network() -> "Figure":
    """Seconds of a step by protocol, a panel a rate."""
    rows = _rows("network")
    rates = list(dict.fromkeys(row["rate"] for row in rows))
    figure, ((*panels,),) = figure_of(1, len(rates), 12, 3.2)
    for place, (axes, rate) in enumerate(zip(panels, rates, strict=True)):
        chosen = [row for row in rows if row["rate"] == rate]
        _bars(axes, [float(row["seconds"]) for row in chosen], [row["seconds"] for row in chosen])
        axes.set_yticks(range(len(chosen)), [row["protocol"] if place == 0 else "" for row in chosen])
        axes.set(title=rate, xlabel="seconds per step, the median of three")
    figure.suptitle("ResNet-18, p = 15 on three hosts, r = 3")
    return figure


CLUSTER = {
    "full": "DETOX, whole copies to the vote",
    "lazy": "DETOX, lazy copies",
    "Bcast + Gather": "MPI_Bcast + MPI_Gather",
    "star": "DETOX, star",
    "bf16": "DETOX, star, bf16 + lz4",
    "sign": "DETOX, star, signs",
    "2 servers": "DETOX, star, 2 servers",
    "relay, hostile": "DETOX, relay, 5 of 45 hostile",
    "relay": "DETOX, relay",
    "4 servers": "DETOX, star, 4 servers",
    "relay, 2 servers": "DETOX, relay, 2 servers",
    "relay, 4 servers": "DETOX, relay, 4 servers",
    "Allreduce": "MPI_Allreduce",
    "relay, 4 servers, bf16": "DETOX, relay, 4 servers, bf16 + lz4",
}
"""Methods of experiments/cluster.sh, spelled as in the picture, in its order."""
_T1 = 32 * 1_117_396 / 100e6  # seconds that the weights of its task take on one link of 100 Mb/s


def cluster() -> "Figure":
    """A step with 45 hosts of workers by method, in what the weights take on one link; a point a step."""
    rows = [row for row in _rows("cluster") if (row["machine"], row["p"], row["rate"]) == ("Xeon", "45", "100mbit")]
    steps = [[float(row["seconds"]) / _T1 for row in rows if row["method"] == method] for method in CLUSTER]
    figure, ((axes,),) = figure_of(1, 1, 9, 4.6)
    medians = [median(times) for times in steps]
    _bars(
        axes,
        medians,
        [f"{time:.1f}" if time < 10 else f"{time:.0f}" for time in medians],
        label_type="center",
        color="white",
    )
    for place, times in enumerate(steps):
        axes.plot(times, [place] * len(times), "o", color="#e0b060", markeredgecolor="#1d3b53", markersize=5)
    axes.set_yticks(range(len(CLUSTER)), list(CLUSTER.values()))
    axes.set(xlabel="a step, in what the weights take on one link (0.358 s): the median, and each step")
    axes.set_title("45 workers, a host each, links of 100 Mb/s, r = 3 with DETOX, no computation")
    return figure


def _rows(name: str) -> list[dict[str, str]]:
    with (KEPT / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _cells(name: str) -> list[dict[str, Any]]:
    """Of an experiment without MPI: numbers, and lists of them."""
    return [{key: json.loads(value) for key, value in row.items()} for row in _rows(name)]


def _bars(axes: "Axes", values: Sequence[float], labels: Sequence[str], **looks: str) -> None:
    """A bar a value, from the top."""
    bars = axes.barh(range(len(values)), values, color="#3b6e8f")
    axes.bar_label(bars, labels, padding=3, fontsize=9, **looks)
    axes.invert_yaxis()
    axes.margins(x=0.18)


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
    rows = [row for row in _rows("byzshield-quick") if row["attack.kind"] in _OF_ATTACKS]
    sizes = [(row["p"], row["q"], row["r"]) for row in rows if row["name"] == "detox-fixed"]
    sizes = list(dict.fromkeys(sizes))
    figure, ((*panels,),) = figure_of(1, len(sizes), 13, 3.6)
    for axes, (p, q, r) in zip(panels, sizes, strict=True):
        of_one = [row for row in rows if row["p"] == p]
        names = [name for name in ASSIGNMENTS if any(row["name"] == name for row in of_one)]
        for kind, (label, colour, marker) in _OF_ATTACKS.items():
            of_kind = [row for row in of_one if row["attack.kind"] == kind]
            if of_kind:  # one marker a seed
                places = [names.index(row["name"]) for row in of_kind]
                found = [100 * float(row["test_accuracy"]) for row in of_kind]
                axes.plot(found, places, marker, color=colour, markersize=8, alpha=0.7, label=label)
        axes.set_yticks(range(len(names)), [ASSIGNMENTS[name] for name in names])
        axes.invert_yaxis()
        axes.margins(y=0.12)
        axes.set(xlim=(0, 100), xlabel="test accuracy at the end (%)", title=f"p = {p}, q = {q}, r = {r}")
        axes.grid(alpha=0.3)
    by_label = {line.get_label(): line for axes in panels for line in axes.get_lines()}  # not all were run at each size
    figure.legend(handles=list(by_label.values()), loc="outside lower center", ncols=3)
    return figure


def plan() -> "Figure":
    """The chart of docs/plan.md, which is exact."""
    setting = Setting(45, 5, 3, 1000, ())
    return chart(setting, [forecast(setting, name) for name in (*PAIRS, "mean")])


FIGURES: dict[str, Callable[[], "Figure"]] = {
    "alie-quick": lambda: accuracy("alie-quick", "Fashion-MNIST, MLP, p = 45, q = 5, b = 8, ALIE, z = 1; three seeds"),
    "alie-rate-quick": rates,
    "signsgd-quick": lambda: accuracy("signsgd-quick", f"{_QUICK}, constant attack; two seeds"),
    "reversed-quick": lambda: accuracy("reversed-quick", f"{_QUICK}, reversed gradient; two seeds"),
    "reversed-quick-time": reached,
    "step-time-quick": step_time,
    "attacks-quick": attack_map,
    "attacks-alie-quick": alie_map,
    "attacks-digits": attacks_on_digits,
    "byzshield-quick": byzshield,
    "network": network,
    "cluster": cluster,
    "mean-estimation": lambda: mean_estimation.draw(_cells("mean-estimation")),
    "theory": lambda: theory_figure.draw(_cells("theory")),
    "aggregation-cost": lambda: cost_figure.draw(_rows("aggregation-cost")),
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
