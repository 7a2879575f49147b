"""`detox-ps report`: one table, and one picture, of finished runs."""

import json
import sys
import tomllib
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from detox.launch.config import Config
from detox.launch.console import adversary_in_words
from detox.launch.placement import create_placement
from detox.ps.folder import RunFolder
from detox.ps.stopwatch import PARTS

_LEGEND = """\
MB in: into the PS. lies: bad gradients told. named: workers that their group
outvoted, wrongly where liars were the group's majority; without groups nobody
votes. weights: the first bytes of the final weights' digest."""


@dataclass(frozen=True)
class FinishedRun:
    """A run folder's content.

    Attributes:
        config: the resolved config.
        summary: summary.json.
        metrics: the lines of metrics.jsonl.
        ledger: the lines of ledger.jsonl.
    """

    config: Config
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]
    ledger: list[dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "FinishedRun":
        """Reads the folder of a finished run."""
        folder = RunFolder(path)
        config = Config(**tomllib.loads((path / "config.toml").read_text()))
        return cls(config, folder.summary(), _lines(folder.metrics), _lines(folder.ledger))

    def named(self) -> tuple[int, int]:
        """Dissents of workers that were Byzantine in that step, and of workers that were not."""
        placement = create_placement(self.config)
        dissents = [line for line in self.ledger if line["kind"] in ("dissented", "convicted")]
        rightly = sum(line["worker"] in placement.byzantine(line["step"]) for line in dissents)
        return rightly, len(dissents) - rightly


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def report(argv: list[str]) -> int:
    """Prints the table and draws the picture; returns the exit status."""
    parser = ArgumentParser("detox-ps report", description="One table, and one picture, of finished runs.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw accuracy and seconds (extra `plot`)")
    options = parser.parse_args(argv)
    runs = []
    for path in options.runs:
        if not RunFolder(path).done:
            print(f"detox-ps: {path} is not the folder of a finished run", file=sys.stderr)
            return 2
        runs.append(FinishedRun.read(path))
    console = Console()
    console.print(table(runs))
    console.print(_LEGEND)
    if options.plot is not None:
        try:
            plot(runs, options.plot)
        except ImportError:
            print("detox-ps: pictures need the extra `plot`: pip install 'detox-ps[plot]'", file=sys.stderr)
            return 2
        print(f"picture in {options.plot}")
    return 0


def table(runs: list[FinishedRun]) -> Table:
    """One row a run: accuracy, seconds, bytes, and what the vote found out about the Byzantine workers."""
    out = Table()
    out.add_column("run")
    for name in ("accuracy", "seconds", "MB in", "lies", "named", "wrongly", "weights"):
        out.add_column(name, justify="right")
    for run in runs:
        summary, config = run.summary, run.config
        found = map(str, run.named()) if config.r > 1 else ("-", "-")
        out.add_row(
            summary["name"],
            "not finite" if summary["test_accuracy"] is None else f"{summary['test_accuracy']:.1%}",
            f"{summary['seconds_per_step']['total'] * summary['steps']:.1f}",
            f"{summary['bytes_into_ps'] / 1e6:.1f}",
            str(config.q * config.steps),
            *found,
            summary["weights_digest"][:8],
        )
    return out


def _what_all_share(configs: list[Config]) -> str:
    """Task, workers and adversary, as far as they are those of all runs."""
    facts = [{c.task for c in configs}, {f"p = {c.p} workers" for c in configs}]
    facts.append({adversary_in_words(c) for c in configs if c.q} or {"no attack"})
    return ", ".join(fact for words in facts if len(words) == 1 for fact in words)


def plot(runs: list[FinishedRun], path: Path) -> None:
    """Accuracy over the steps, and where the seconds of a step go, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (curves, bars) = pyplot.subplots(1, 2, figsize=(12, 4), layout="constrained")
    for run in runs:
        scored = [line for line in run.metrics if line.get("accuracy") is not None]
        steps, accuracy = [line["step"] for line in scored], [100 * line["accuracy"] for line in scored]
        curves.plot(steps, accuracy, marker="o", markersize=3, label=run.summary["name"])
    curves.set(xlabel="step", ylabel="test accuracy (%)", ylim=(0, 101))
    curves.legend(loc="center right")
    curves.grid(alpha=0.3)
    places, left = range(len(runs)), [0.0] * len(runs)
    for part in PARTS:
        widths = [1000 * run.summary["seconds_per_step"][part] for run in runs]
        bars.barh(places, widths, left=left, label="compute + wait" if part == "wait" else part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    bars.set_yticks(places, [run.summary["name"] for run in runs])
    bars.invert_yaxis()
    bars.set(xlabel="milliseconds a step")
    bars.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(_what_all_share([run.config for run in runs]))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
