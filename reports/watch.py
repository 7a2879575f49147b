"""`detox-ps watch`: a run while it trains, from what it has written so far."""

import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from detox.config import Config
from detox.config.adversary import adversary_in_words, groups_in_words
from detox.errors.words import counted
from detox.ps.folder import RunFolder
from detox.ps.lock import is_held
from detox.ps.stopwatch import PARTS
from detox.reports.log import Log, assumed
from detox.reports.records import read_ledger, read_run, read_steps, scores_in
from detox.reports.results import in_figures
from detox.reports.verdicts import undisputed_in_words

_NEWEST = 20  # steps of which the pace is told
_SHOWN = 5  # evaluations, and workers
_PAUSE = 1.0  # seconds between two looks
_SHARE = 0.1  # of the time, at most, for reading the folder


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        config: of the run.
        status: running, interrupted, failed or finished; gone: it was running, and no job works in the folder.
        why: of a failure or interruption.
        steps: the lines of metrics.jsonl.
        entries: the lines of ledger.jsonl.
    """

    config: Config
    status: str
    why: str
    steps: Sequence[dict[str, Any]]
    entries: list[dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "Progress":
        """Reads the folder of a run; raises RunError where it is none, or a file in it is broken."""
        folder, config = RunFolder(path), read_run(path)
        told = folder.read_status()
        status, why = str(told.get("status", "running")), str(told.get("why", ""))
        # In this order: a job that ends meanwhile has written all of its lines before.
        held = is_held(folder.path)
        steps = read_steps(folder.metrics, config, timed=True)
        gone = status == "running" and not held and folder.read_status() == told
        return cls(config, "gone" if gone else status, why, steps, read_ledger(folder.ledger, config))

    @property
    def step(self) -> int:
        """The newest, 0 before the first."""
        return int(self.steps[-1]["step"]) if self.steps else 0

    @property
    def pace(self) -> dict[str, float]:
        """Seconds per step by part, the mean of the newest steps; empty before the first."""
        newest = self.steps[-_NEWEST:]
        return {part: mean(step["seconds"][part] for step in newest) for part in PARTS} if newest else {}

    @property
    def eta(self) -> float | None:
        """Seconds until the last step at this pace, without evaluations; None where nothing is under way."""
        if self.status != "running" or not self.steps:
            return None
        return (self.config.steps - self.step) * sum(self.pace.values())

    @property
    def votes(self) -> dict[str, int]:
        """How files were voted on in the steps that are closed, eight behind the newest until the run ends."""
        return dict(self.steps[-1].get("votes", {})) if self.steps else {}


def watch(argv: list[str]) -> int:
    """Shows the run until it ends; returns 0 if it has finished, or goes on (--once), else 1."""
    options = parser().parse_args(argv)
    console = Console(highlight=False)
    if options.once:
        progress = Progress.read(options.run)
        console.print(view(progress))
    else:
        progress = follow(options.run, console, time.sleep)
    return 0 if progress.status in ("running", "finished") else 1


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser("detox-ps watch", description="A run while it trains, until it ends.", allow_abbrev=False)
    line.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    line.add_argument("--once", action="store_true", help="print how far it is, and end")
    return line


def follow(path: Path, console: Console, pause: Callable[[float], object]) -> Progress:
    """Shows the run until it ends; how it ended.

    Args:
        path: the run's folder.
        console: where.
        pause: called between two looks, with seconds to wait.
    """
    with Live(console=console, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            progress = Progress.read(path)
            live.update(view(progress), refresh=True)
            if progress.status != "running":
                return progress
            pause(max(_PAUSE, (time.monotonic() - began) / _SHARE))


def view(progress: Progress) -> RenderableType:
    """All of it, for a terminal of any width."""
    config = progress.config
    workers = f"{counted(config.p, 'worker')} {groups_in_words(config)}"
    title = f"{config.name}: {config.task}, {workers}, {adversary_in_words(config)}"
    parts: list[RenderableType] = [Text(title, style="bold"), _bar(progress), ""]
    if scores := [(line["step"], found) for line in progress.steps if (found := scores_in(line))]:
        parts += [_scores(scores), ""]
    facts = Table.grid(padding=(0, 2))
    for name, words in _facts(progress).items():
        facts.add_row(name, Text(words))
    return Group(*parts, facts)


def _bar(progress: Progress) -> RenderableType:
    steps = progress.config.steps
    line = Table.grid(padding=(0, 1))
    eta = "" if progress.eta is None else f"ETA {timedelta(seconds=round(progress.eta))}"
    line.add_row(f"{progress.step}/{steps}", ProgressBar(total=steps, completed=progress.step, width=40), eta)
    return line


def _scores(scores: list[tuple[int, dict[str, float | None]]]) -> Table:
    names = list(dict.fromkeys(name for _, found in scores for name in found))
    table = Table("evaluated after", *names, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for step, found in scores[-_SHOWN:]:
        table.add_row(f"step {step}", *(in_figures(name, found[name]) if name in found else "" for name in names))
    return table


def _facts(progress: Progress) -> dict[str, str]:
    if not progress.steps:
        return {"state": _state(progress)}
    newest, log = progress.steps[-_NEWEST:], _log(progress)
    seconds = " + ".join(f"{part} {1000 * value:.1f}" for part, value in progress.pace.items())
    skipped = sum("skipped" in step for step in progress.steps)
    accused = [
        f"worker {finding.worker} on {finding.host or 'its host'} ({finding.verdict})"
        for finding in log.findings
        if finding.worker is not None and finding.verdict in ("proven", "suspect")
    ]
    out = sorted((f.quarantined, f.worker) for f in log.findings if f.quarantined is not None)
    dead = sorted((f.dead, f.worker) for f in log.findings if f.dead is not None)
    return {
        "state": _state(progress),
        "per step": f"{1000 * sum(progress.pace.values()):.1f} ms = {seconds}; the last {counted(len(newest), 'step')}",
        "into the PS": f"{mean(step['bytes_in'] for step in newest) / 1e6:.3f} MB per step",
        "votes": ", ".join(f"{count} {how}" for how, count in progress.votes.items()) or "none yet",
        "in dispute": undisputed_in_words(log),
        **({"no update": counted(skipped, "step")} if skipped else {}),
        "suspects": _few(accused) + ', for attack.placement = "random" makes all Byzantine in turn' * log.wanders,
        **({"lost": _few([f"worker {worker} in step {step}" for step, worker in dead])} if dead else {}),
        "quarantine": _few([f"worker {worker} from step {step}" for step, worker in out]),
    }


def _log(progress: Progress) -> Log:
    config = progress.config
    return Log(config, progress.step, progress.entries, min(assumed(config), config.p))


def _state(progress: Progress) -> str:
    if progress.status == "gone":
        return "no job works in its folder, and it has not said why: it was killed, or its host is lost"
    if progress.status == "running":
        return "running" if progress.step else "starting: no step yet"
    return progress.status + (f": {progress.why}" if progress.why else "")


def _few(words: list[str]) -> str:
    more = f", and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more or "none"
