"""`detox-ps report`: tables and pictures of finished runs."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from detox.errors import UserError
from detox.ps.stopwatch import PARTS
from detox.reports.byzfl import write_byzfl
from detox.reports.drawn import Drawn, as_table, side_by_side
from detox.reports.figures import picture_file
from detox.reports.hosts import runs_below
from detox.reports.methods import methods
from detox.reports.records import RunError, scores_in
from detox.reports.results import FinishedRun, score_names
from detox.reports.tables import as_csv, as_markdown, by_attack, method_rows, table, what_all_share
from detox.reports.target import Target, parse_target
from detox.reports.terminal import printer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEGEND = """\
MB in: into the PS. bad: gradients of Byzantine workers, and those that an injected
fault corrupts (or may, where it comes at random). TP, FP: dissents of such workers
and of honest ones (true and false positives; the honest dissent where the others
are a group's majority); without groups and audits nobody votes.
weights: the first bytes of the final weights' digest."""


def report(argv: list[str]) -> int:
    """Prints the table, writes files and draws pictures; returns 0.

    Raises:
        UserError: there is no finished run, no such score, no extra that is needed, or a file cannot be written.
    """
    options = parser().parse_args(argv)
    runs = read(options.runs)
    if not runs:
        raise RunError("none of these is the folder of a finished run")
    if options.target is not None and options.target.name not in (names := score_names(runs)):
        raise UserError(f"--target: no run has a score {options.target.name}; there are: {', '.join(names)}")
    console = printer()
    console.print(table(runs))
    console.print(_LEGEND)
    try:
        if options.plot is not None:
            from detox.reports.figures import overview, save

            save(overview(list(map(Drawn.of, side_by_side(methods(runs)))), what_all_share(runs)), options.plot)
            print(f"picture in {options.plot}")
        if options.output is not None:
            write(runs, options.target, options.output)
            print(f"report in {options.output / 'report.html'}")
        if options.byzfl is not None:
            write_byzfl(runs, options.byzfl)
            print(f"results as byzfl has them in {options.byzfl}")
        if options.tensorboard is not None:
            write_events(runs, options.tensorboard)
            print(f"event files in {options.tensorboard}")
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{error.filename or options.output}: {error.strerror or error}") from None
    except UnicodeEncodeError as error:
        raise UserError(f"{error.object!r}: a path in UTF-8 is needed") from None
    except ImportError as error:
        extra = "tensorboard" if "tensorboard" in str(error) else "plot"
        raise UserError(f"this needs the extra `{extra}`: pip install 'detox-ps[{extra}]'") from None
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser("detox-ps report", description="Tables and pictures of finished runs.", allow_abbrev=False)
    line.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder")
    line.add_argument(
        "--plot", type=picture_file, metavar="FILE", help="draw scores, and bad gradients or seconds (extra `plot`)"
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
    line.add_argument(
        "--byzfl", type=Path, metavar="FOLDER", help="write the layout of byzfl's benchmark; see docs/byzfl.md"
    )
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
            if path not in (found := runs_below(path)) and found:
                continue  # a glob over the runs has folders of more runs beside them
            print(f"warning: {error}, and is left out", file=sys.stderr)
    return list(runs.values())


def write(runs: list[FinishedRun], target: Target | None, folder: Path) -> None:
    """Writes report.csv, report.md, report.html, the pictures, and figures.csv, from which these can be drawn again.

    Args:
        runs: finished ones, at least one.
        target: score to time; None: 95 % of the best accuracy, where there is one.
        folder: where to; it is made.

    Raises:
        ImportError: there is no matplotlib.
    """
    from detox.reports import figures
    from detox.reports.attack_map import attacks
    from detox.reports.page import page

    all_methods, title = side_by_side(methods(runs)), what_all_share(runs)
    shown = list(map(Drawn.of, all_methods))
    aim = target
    if target is None and "accuracy" in score_names(runs):
        aim = Target("accuracy", 0.95 * max(run.accuracy or 0.0 for run in runs), "higher")
    drawings: dict[str, Callable[[], Figure]] = {
        "curves": lambda: figures.curves(shown, title),
        "seconds": lambda: figures.seconds(shown, title),
    }
    if aim is not None:
        times = [(one, method.reached(aim)) for one, method in zip(shown, all_methods, strict=True)]
        drawings["time-to-target"] = lambda: figures.time_to(times, aim, title)
    score = next(iter(score_names(runs)), "loss")
    if found := by_attack(all_methods, score):
        drawings["attacks"] = lambda: attacks(found, score, title)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in drawings.items():
        figures.save(draw(), folder / f"{name}.png")
    rows = method_rows(all_methods, aim)
    pictures = {name: (folder / f"{name}.png").read_bytes() for name in drawings}
    texts = {
        "report.csv": as_csv(runs, aim),
        "report.md": as_markdown(rows, title),
        "report.html": page(title, rows, pictures, runs),
        "figures.csv": as_table(shown),
    }
    for name, text in texts.items():
        # A host or a name may hold what is no character.
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")


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
