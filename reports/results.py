"""What finished runs have in their folders."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from detox.config import Config
from detox.config.adversary import create_placement
from detox.ps.folder import RunFolder
from detox.ps.stopwatch import PARTS, WAITS
from detox.reports.records import (
    RunError,
    finite,
    is_score,
    read_ledger,
    read_run,
    read_steps,
    read_summary,
    scores_in,
)
from detox.reports.target import Target


class Evaluation(NamedTuple):
    """Of the PS's model on the test data: after which step, at how many seconds, scores by name; None: not finite."""

    step: int
    seconds: float
    scores: dict[str, float | None]


@dataclass(frozen=True)
class FinishedRun:
    """A run folder's content.

    Attributes:
        config: the resolved config.
        summary: summary.json.
        metrics: the lines of metrics.jsonl, at least one.
        ledger: the lines of ledger.jsonl.
    """

    config: Config
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]
    ledger: list[dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "FinishedRun":
        """Reads the folder of a finished run.

        Raises:
            RunError: it is none, or a file in it cannot be read.
        """
        folder = RunFolder(path)
        try:
            if not folder.done:
                raise RunError(f"{path} is not the folder of a finished run")
            config = read_run(path)
            steps = read_steps(folder.metrics, config, timed=True)
            if not steps:
                raise RunError(f"{folder.metrics}: no steps")
            return cls(config, read_summary(folder, config), steps, read_ledger(folder.ledger, config))
        except OSError as error:
            raise RunError(f"{path}: {error.strerror}") from None

    @property
    def folder_name(self) -> str:
        """Of the run's folder; the config in it lacks the secret seed, so its hash may be another."""
        return f"{self.config.name}-{self.summary.get('config_hash', self.config.identity)}"

    @cached_property
    def positives(self) -> tuple[int, int]:
        """True and false positives: dissents of workers that were Byzantine in that step or had a fault; of others."""
        placement, injected = create_placement(self.config), self.config.fault
        dissents = [line for line in self.ledger if line["kind"] in ("dissented", "convicted")]
        true = sum(
            line["worker"] in placement.byzantine(line["step"]) or injected.on(line["worker"], line["step"])
            for line in dissents
        )
        return true, len(dissents) - true

    @property
    def bad(self) -> int:
        """Gradients of Byzantine workers, and those that an injected fault corrupts, or may where it comes at random.

        Those of workers that are out or gone are counted, too.
        """
        steps, injected = int(self.summary["steps"]), self.config.fault
        return self.config.q * steps + sum(
            injected.corrupts(worker, step) for worker in injected.worker for step in range(1, steps + 1)
        )

    @property
    def votes(self) -> bool:
        """Whether anybody can dissent: files have several copies, or some are audited."""
        return self.config.r > 1 or bool(self.config.audit.workers or self.config.audit.most)

    @cached_property
    def scores(self) -> list[Evaluation]:
        """Of each evaluation."""
        found = zip(self.metrics, self.seconds, map(scores_in, self.metrics), strict=True)
        return [Evaluation(line["step"], seconds, scores) for line, seconds, scores in found if scores]

    @cached_property
    def ends(self) -> dict[str, float | None]:
        """Scores at the end by name, those that the task's evaluation has; None: not finite."""
        evaluated = {name for one in self.scores for name in one.scores}
        told = {
            name.removeprefix("test_"): finite(value)
            for name, value in self.summary.items()
            if name.startswith("test_") and is_score(value)
        }
        return {name: value for name, value in told.items() if value is not None or name in evaluated}

    @property
    def accuracy(self) -> float | None:
        """Test accuracy at the end; None where the loss is not finite, or the task has no accuracy."""
        return self.ends.get("accuracy")

    @cached_property
    def seconds(self) -> list[float]:
        """Seconds from the start of the training to the end of each step."""
        return list(accumulate(sum(line["seconds"].values()) for line in self.metrics))

    @cached_property
    def median_seconds(self) -> dict[str, float]:
        """By part, part of "wait" where these are known, and in `total`, the median over the steps."""
        steps = [
            line["seconds"] | line.get("waits", {}) | {"total": sum(line["seconds"].values())} for line in self.metrics
        ]
        known = [name for name in WAITS if all(name in step for step in steps)]
        return {name: median(step[name] for step in steps) for name in (*PARTS, *known, "total")}

    def reached(self, target: Target) -> tuple[int, float] | None:
        """Step and seconds of the first evaluation with a score as good as that; None if it never came."""
        return next(
            ((step, seconds) for step, seconds, scores in self.scores if target.met(scores.get(target.name))), None
        )


def score_names(runs: list[FinishedRun]) -> list[str]:
    """The scores that some run has: accuracy, loss, then others as they come."""
    found = dict.fromkeys(name for run in runs for name in run.ends)
    return [name for name in ("accuracy", "loss") if name in found] + [
        name for name in found if name not in ("accuracy", "loss")
    ]


def shown(names: list[str]) -> list[str]:
    """The scores that a table shows: all, but no loss beside an accuracy."""
    return [name for name in names if name != "loss" or "accuracy" not in names]


def in_figures(name: str, value: float | None) -> str:
    """A score."""
    if value is None:
        return "not finite"
    return f"{value:.1%}" if name == "accuracy" else f"{value:.4g}"
