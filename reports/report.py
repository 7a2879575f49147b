"""`detox-ps report`: tables and pictures of finished runs."""

import csv
import io
import math
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from rich.table import Table

from detox.config.adversary import adversary_in_words
from detox.errors.words import counted
from detox.ps.stopwatch import PARTS
from detox.reports.figures import picture_file
from detox.reports.records import RunError, scores_in
from detox.reports.results import FinishedRun, Method, fields_of, in_figures, methods, score_names, shown
from detox.reports.target import Target, parse_target
from detox.reports.terminal import printer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEGEND = """\
MB in: into the PS. bad: gradients of Byzantine workers. TP, FP: dissents of
Byzantine and of honest workers (true and false positives; the honest dissent
where Byzantine workers are a group's majority); without groups nobody votes.
weights: the first bytes of the final weights' digest."""


def report(argv: list[str]) -> int:
    """Prints the table, writes files and draws pictures; returns the exit status."""
    options = parser().parse_args(argv)
    runs = read(options.runs)
    if not runs:
        print("detox-ps: none of these is the folder of a finished run", file=sys.stderr)
        return 2
    if options.target is not None and options.target.name not in (names := score_names(runs)):
        print(
            f"detox-ps: --target: no run has a score {options.target.name}; there are: {', '.join(names)}",
            file=sys.stderr,
        )
        return 2
    console = printer()
    console.print(table(runs))
    console.print(_LEGEND)
    try:
        if options.plot is not None:
            from detox.reports.figures import overview, save

            save(overview(methods(runs), what_all_share(runs)), options.plot)
            print(f"picture in {options.plot}")
        if options.output is not None:
            write(runs, options.target, options.output)
            print(f"report in {options.output / 'report.html'}")
        if options.tensorboard is not None:
            write_events(runs, options.tensorboard)
            print(f"event files in {options.tensorboard}")
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"detox-ps: {error.filename or options.output}: {error.strerror or error}", file=sys.stderr)
        return 2
    except UnicodeEncodeError as error:
        print(f"detox-ps: {error.object!r}: a path in UTF-8 is needed", file=sys.stderr)
        return 2
    except ImportError as error:
        extra = "tensorboard" if "tensorboard" in str(error) else "plot"
        print(f"detox-ps: this needs the extra `{extra}`: pip install 'detox-ps[{extra}]'", file=sys.stderr)
        return 2
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser("detox-ps report", description="Tables and pictures of finished runs.", allow_abbrev=False)
    line.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder")
    line.add_argument(
        "--plot", type=picture_file, metavar="FILE", help="draw scores and seconds: .png, .pdf, .svg (extra `plot`)"
    )
    line.add_argument(
        "--output", type=Path, metavar="FOLDER", help="write report.csv, report.md, report.html and its pictures there"
    )
    line.add_argument(
        "--target",
        type=parse_target,
        metavar="NAME=VALUE",
        help="score to time, such as accuracy=0.9 or loss=0.3; unset: 95%% of the best accuracy",
    )
    line.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="write event files (extra `tensorboard`)")
    return line


def read(paths: list[Path]) -> list[FinishedRun]:
    """The runs that can be read, each once; why the others are left out goes to stderr."""
    runs: dict[Path, FinishedRun] = {}
    for path in paths:
        if path.suffix == ".toml" and not path.is_dir():
            continue  # a glob over the output of a sweep has them beside the folders
        try:
            runs.setdefault(path.absolute(), FinishedRun.read(path))
        except RunError as error:
            print(f"warning: {error}, and is left out", file=sys.stderr)
    return list(runs.values())


def table(runs: list[FinishedRun]) -> Table:
    """One row per run: scores, seconds, bytes, and what the vote found out about the Byzantine workers."""
    out = Table()
    out.add_column("run")
    names = shown(score_names(runs))
    for name in (*names, "seconds", "MB in", "bad", "TP", "FP", "weights"):
        out.add_column(name, justify="right")
    for run in runs:
        summary, config = run.summary, run.config
        found = map(str, run.positives) if config.r > 1 else ("-", "-")
        out.add_row(
            summary["name"],
            *(in_figures(name, run.ends[name]) if name in run.ends else "-" for name in names),
            f"{summary['seconds_per_step']['total'] * summary['steps']:.1f}",
            f"{summary['bytes_into_ps'] / 1e6:.1f}",
            str(config.q * summary["steps"]),
            *found,
            summary["weights_digest"][:8],
        )
    return out


def what_all_share(runs: list[FinishedRun]) -> str:
    """Task, workers and adversary, as far as they are those of all runs."""
    configs = [run.config for run in runs]
    facts = [
        {f"{c.task}" + (f", {c.model}" if c.model else "") for c in configs},
        {f"p = {counted(c.p, 'worker')}" for c in configs},
    ]
    facts.append({adversary_in_words(c) for c in configs if c.q} or {"no attack"})
    return ", ".join(fact for words in facts if len(words) == 1 for fact in words)


def as_csv(runs: list[FinishedRun], target: Target | None) -> str:
    """One row per run: all fields of its config, and what came of it."""
    text = io.StringIO()
    rows = [_row(run, target) for run in runs]
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(run: FinishedRun, target: Target | None) -> dict[str, Any]:
    summary, (true, false) = run.summary, run.positives
    reached = None if target is None else run.reached(target)
    return {
        **fields_of(run.config),
        **{f"test_{name}": run.ends.get(name) for name in run.ends},
        "target": target and f"{target.name} {in_figures(target.name, target.value)}",
        "steps_to_target": reached and reached[0],
        "seconds_to_target": reached and reached[1],
        **{f"seconds_{name}": summary["seconds_per_step"][name] for name in ("total", *PARTS)},
        "bytes_into_ps": summary["bytes_into_ps"],
        "skipped_steps": summary["skipped_steps"],
        "bad_gradients": run.config.q * run.summary["steps"],
        "true_positives": true if run.config.r > 1 else None,
        "false_positives": false if run.config.r > 1 else None,
        "weights_digest": summary["weights_digest"],
    }


def method_rows(all_methods: list[Method], target: Target | None) -> list[dict[str, str]]:
    """One row per method, in words and numbers; a spread is from the least to the greatest of the seeds."""
    rows = []
    names = shown(score_names([run for method in all_methods for run in method.runs]))
    for method in all_methods:
        reached = None if target is None else method.reached(target)
        timed = {}
        if target is not None:
            aim = f"{target.name} {in_figures(target.name, target.value)}"
            timed = {f"seconds to {aim}": "never" if reached is None else f"{reached:.1f}"}
        true, false = map(sum, zip(*(run.positives for run in method.runs), strict=True))
        rows.append(
            {
                "method": method.label,
                "seeds": str(len(method.runs)),
                **{f"test {name}": method.ends(name) for name in names},
                **timed,
                "ms per step": f"{1000 * method.median_seconds['total']:.1f}",
                "MB per step into the PS": f"{method.bytes_per_step / 1e6:.3f}",
                "bad gradients": str(sum(run.config.q * run.summary["steps"] for run in method.runs)),
                "true positives": str(true) if method.config.r > 1 else "-",
                "false positives": str(false) if method.config.r > 1 else "-",
            }
        )
    return rows


def as_markdown(rows: list[dict[str, str]], title: str) -> str:
    """A table of rows with equal keys."""
    lines = [list(rows[0]), ["---"] + ["---:"] * (len(rows[0]) - 1), *(list(row.values()) for row in rows)]
    return f"{title}\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines)


def by_attack(all_methods: list[Method], score: str) -> dict[str, dict[str, float]]:
    """Name of the runs -> attack -> mean score at the end; empty unless there are several of both.

    A mean of losses that are not all finite is infinite. Methods whose task has no such score are left out.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for method in all_methods:
        if not all(score in run.ends for run in method.runs):
            continue
        kind = method.config.attack.kind if method.config.q else "none"
        found.setdefault(method.config.name, {}).setdefault(kind, []).extend(method.values(score))
    kinds = {kind for row in found.values() for kind in row}
    if len(found) < 2 or len(kinds) < 2:
        return {}
    return {name: {kind: _mean(values) for kind, values in row.items()} for name, row in found.items()}


def _mean(values: list[float]) -> float:
    return mean(values) if all(map(math.isfinite, values)) else math.inf


def write(runs: list[FinishedRun], target: Target | None, folder: Path) -> None:
    """Writes report.csv, report.md, report.html and the pictures.

    Args:
        runs: finished ones, at least one.
        target: score to time; None: 95 % of the best accuracy, where there is one.
        folder: where to; it is made.

    Raises:
        ImportError: there is no matplotlib.
    """
    from detox.reports import figures
    from detox.reports.page import page

    all_methods, title = methods(runs), what_all_share(runs)
    aim = target
    if target is None and "accuracy" in score_names(runs):
        aim = Target("accuracy", 0.95 * max(run.accuracy or 0.0 for run in runs), "higher")
    drawings: dict[str, Callable[[], Figure]] = {
        "curves": lambda: figures.curves(all_methods, title),
        "seconds": lambda: figures.seconds(all_methods, title),
    }
    if aim is not None:
        drawings["time-to-target"] = lambda: figures.time_to(all_methods, aim, title)
    score = next(iter(score_names(runs)), "loss")
    if found := by_attack(all_methods, score):
        drawings["attacks"] = lambda: figures.attacks(found, score, title)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in drawings.items():
        figures.save(draw(), folder / f"{name}.png")
    rows = method_rows(all_methods, aim)
    pictures = {name: (folder / f"{name}.png").read_bytes() for name in drawings}
    texts = {"csv": as_csv(runs, aim), "md": as_markdown(rows, title), "html": page(title, rows, pictures, runs)}
    for ending, text in texts.items():
        # A host or a name may hold what is no character.
        (folder / f"report.{ending}").write_text(text, encoding="utf-8", errors="backslashreplace")


def write_events(runs: list[FinishedRun], folder: Path) -> None:
    """TensorBoard's event files, one folder per run.

    Raises:
        ImportError: there is no tensorboard.
    """
    from torch.utils.tensorboard import SummaryWriter

    for run in runs:
        writer = SummaryWriter(str(folder / run.folder_name))
        for line in run.metrics:
            scalars = {f"seconds/{part}": line["seconds"][part] for part in PARTS} | {"bytes_in": line["bytes_in"]}
            scalars |= {f"test/{name}": value for name, value in scores_in(line).items() if value is not None}
            for name, value in scalars.items():
                writer.add_scalar(name, value, line["step"])
        writer.close()
