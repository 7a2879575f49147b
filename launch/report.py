"""`detox-ps report`: tables and pictures of finished runs."""

import csv
import io
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from detox.launch.console import adversary_in_words
from detox.launch.results import FinishedRun, Method, fields_of, methods
from detox.ps.folder import RunFolder
from detox.ps.stopwatch import PARTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEGEND = """\
MB in: into the PS. lies: bad gradients told. named: workers that their group
outvoted, wrongly where liars were the group's majority; without groups nobody
votes. weights: the first bytes of the final weights' digest."""


def report(argv: list[str]) -> int:
    """Prints the table, writes files and draws pictures; returns the exit status."""
    parser = ArgumentParser("detox-ps report", description="Tables and pictures of finished runs.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw accuracy and seconds (extra `plot`)")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write report.csv, report.md, report.html and its pictures there"
    )
    parser.add_argument("--target", type=float, help="test accuracy to time, of 1; unset: 95%% of the best")
    parser.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="write event files (extra `tensorboard`)")
    options = parser.parse_args(argv)
    runs = []
    for path in options.runs:
        if RunFolder(path).done:
            runs.append(FinishedRun.read(path))
        elif path.is_dir() or path.suffix != ".toml":
            print(f"warning: {path} is not the folder of a finished run, and is left out", file=sys.stderr)
    if not runs:
        print("detox-ps: none of these is the folder of a finished run", file=sys.stderr)
        return 2
    console = Console()
    console.print(table(runs))
    console.print(_LEGEND)
    try:
        if options.plot is not None:
            from detox.launch.figures import overview, save

            save(overview(methods(runs), what_all_share(runs)), options.plot)
            print(f"picture in {options.plot}")
        if options.output is not None:
            write(runs, options.target, options.output)
            print(f"report in {options.output / 'report.html'}")
        if options.tensorboard is not None:
            write_events(runs, options.tensorboard)
            print(f"event files in {options.tensorboard}")
    except OSError as error:
        print(f"detox-ps: {error.filename or options.output}: {error.strerror}", file=sys.stderr)
        return 2
    except ImportError as error:
        extra = "tensorboard" if "tensorboard" in str(error) else "plot"
        print(f"detox-ps: this needs the extra `{extra}`: pip install 'detox-ps[{extra}]'", file=sys.stderr)
        return 2
    return 0


def table(runs: list[FinishedRun]) -> Table:
    """One row a run: accuracy, seconds, bytes, and what the vote found out about the Byzantine workers."""
    out = Table()
    out.add_column("run")
    for name in ("accuracy", "seconds", "MB in", "lies", "named", "wrongly", "weights"):
        out.add_column(name, justify="right")
    for run in runs:
        summary, config = run.summary, run.config
        found = map(str, run.named) if config.r > 1 else ("-", "-")
        out.add_row(
            summary["name"],
            "not finite" if run.accuracy is None else f"{run.accuracy:.1%}",
            f"{summary['seconds_per_step']['total'] * summary['steps']:.1f}",
            f"{summary['bytes_into_ps'] / 1e6:.1f}",
            str(config.q * config.steps),
            *found,
            summary["weights_digest"][:8],
        )
    return out


def what_all_share(runs: list[FinishedRun]) -> str:
    """Task, workers and adversary, as far as they are those of all runs."""
    configs = [run.config for run in runs]
    facts = [
        {f"{c.task}" + (f", {c.model}" if c.model else "") for c in configs},
        {f"p = {c.p} workers" for c in configs},
    ]
    facts.append({adversary_in_words(c) for c in configs if c.q} or {"no attack"})
    return ", ".join(fact for words in facts if len(words) == 1 for fact in words)


def as_csv(runs: list[FinishedRun], target: float) -> str:
    """One row a run: all fields of its config, and what came of it."""
    text = io.StringIO()
    rows = [_row(run, target) for run in runs]
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(run: FinishedRun, target: float) -> dict[str, Any]:
    summary, rightly, reached = run.summary, run.named, run.reached(target)
    return {
        **fields_of(run.config),
        "test_accuracy": run.accuracy,
        "test_loss": summary["test_loss"],
        "target_accuracy": target,
        "steps_to_target": reached and reached[0],
        "seconds_to_target": reached and reached[1],
        **{f"seconds_{name}": summary["seconds_per_step"][name] for name in ("total", *PARTS)},
        "bytes_into_ps": summary["bytes_into_ps"],
        "skipped_steps": summary["skipped_steps"],
        "lies": run.config.q * run.config.steps,
        "named_rightly": rightly[0] if run.config.r > 1 else None,
        "named_wrongly": rightly[1] if run.config.r > 1 else None,
        "weights_digest": summary["weights_digest"],
    }


def method_rows(all_methods: list[Method], target: float) -> list[dict[str, str]]:
    """One row a method, in words and numbers; a spread is from the least to the greatest of the seeds."""
    rows = []
    for method in all_methods:
        accuracies, reached = method.accuracies, method.reached(target)
        spread = f" ({min(accuracies):.1%} to {max(accuracies):.1%})" if len(accuracies) > 1 else ""
        rightly, wrongly = map(sum, zip(*(run.named for run in method.runs), strict=True))
        rows.append(
            {
                "method": method.label,
                "seeds": str(len(method.runs)),
                "test accuracy": f"{mean(accuracies):.1%}{spread}",
                f"seconds to {target:.1%}": "never" if reached is None else f"{reached:.1f}",
                "ms a step": f"{1000 * method.median_seconds['total']:.1f}",
                "MB a step into the PS": f"{method.bytes_per_step / 1e6:.3f}",
                "lies": str(sum(run.config.q * run.config.steps for run in method.runs)),
                "named": str(rightly) if method.config.r > 1 else "-",
                "wrongly": str(wrongly) if method.config.r > 1 else "-",
            }
        )
    return rows


def as_markdown(rows: list[dict[str, str]], title: str) -> str:
    """A table of rows with equal keys."""
    lines = [list(rows[0]), ["---"] + ["---:"] * (len(rows[0]) - 1), *(list(row.values()) for row in rows)]
    return f"{title}\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines)


def by_attack(all_methods: list[Method]) -> dict[str, dict[str, float]]:
    """Name of the runs -> attack -> mean accuracy at the end; empty unless there are several of both."""
    found: dict[str, dict[str, list[float]]] = {}
    for method in all_methods:
        kind = method.config.attack.kind if method.config.q else "none"
        found.setdefault(method.config.name, {}).setdefault(kind, []).extend(method.accuracies)
    kinds = {kind for row in found.values() for kind in row}
    if len(found) < 2 or len(kinds) < 2:
        return {}
    return {name: {kind: mean(values) for kind, values in row.items()} for name, row in found.items()}


def write(runs: list[FinishedRun], target: float | None, folder: Path) -> None:
    """Writes report.csv, report.md, report.html and the pictures.

    Raises:
        ImportError: there is no matplotlib.
    """
    from detox.launch import figures
    from detox.launch.page import page

    all_methods, title = methods(runs), what_all_share(runs)
    best = max(run.accuracy or 0.0 for run in runs)
    aim = 0.95 * best if target is None else target
    drawings: dict[str, Callable[[], Figure]] = {
        "curves": lambda: figures.curves(all_methods, title),
        "time-to-accuracy": lambda: figures.time_to(all_methods, aim, title),
        "seconds": lambda: figures.seconds(all_methods, title),
    }
    if found := by_attack(all_methods):
        drawings["attacks"] = lambda: figures.attacks(found, title)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in drawings.items():
        figures.save(draw(), folder / f"{name}.png")
    rows = method_rows(all_methods, aim)
    (folder / "report.csv").write_text(as_csv(runs, aim))
    (folder / "report.md").write_text(as_markdown(rows, title))
    pictures = {name: (folder / f"{name}.png").read_bytes() for name in drawings}
    (folder / "report.html").write_text(page(title, rows, pictures, runs))


def write_events(runs: list[FinishedRun], folder: Path) -> None:
    """TensorBoard's event files, one folder a run.

    Raises:
        ImportError: there is no tensorboard.
    """
    from torch.utils.tensorboard import SummaryWriter

    for run in runs:
        writer = SummaryWriter(str(folder / run.config.folder.name))
        for line in run.metrics:
            scalars = {f"seconds/{part}": line["seconds"][part] for part in PARTS} | {"bytes_in": line["bytes_in"]}
            scalars |= {f"test/{name}": line[name] for name in ("accuracy", "loss") if line.get(name) is not None}
            for name, value in scalars.items():
                writer.add_scalar(name, value, line["step"])
        writer.close()
