"""What finished runs have in their folders, and which of them are the same method with other seeds."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

from detox.config import Config
from detox.config.adversary import create_placement
from detox.ps.folder import RunFolder
from detox.ps.stopwatch import PARTS
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

_SEEDS = {"seed", "secret_seed", "attack.seed"}
_NAMES = {"name", "output"}


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
        """True and false positives: dissents of workers that were Byzantine in that step, and of honest ones."""
        placement = create_placement(self.config)
        dissents = [line for line in self.ledger if line["kind"] in ("dissented", "convicted")]
        true = sum(line["worker"] in placement.byzantine(line["step"]) for line in dissents)
        return true, len(dissents) - true

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
        """By part and in `total`, the median over the steps."""
        steps = [line["seconds"] | {"total": sum(line["seconds"].values())} for line in self.metrics]
        return {name: median(step[name] for step in steps) for name in (*PARTS, "total")}

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


@dataclass(frozen=True)
class Method:
    """Runs that differ in nothing but seeds.

    Attributes:
        label: the runs' name, and what tells them from others of that name.
        runs: at least one.
    """

    label: str
    runs: list[FinishedRun]

    @property
    def config(self) -> Config:
        """The first run's, which is all runs' but for seeds."""
        return self.runs[0].config

    def values(self, name: str) -> list[float]:
        """A score of each run at the end, NaN where it is not finite; an accuracy is 0 then, for nothing was learnt."""
        lost = 0.0 if name == "accuracy" else math.nan
        return [lost if (value := run.ends.get(name)) is None else value for run in self.runs]

    def ends(self, name: str) -> str:
        """A score at the end, the mean of the runs, and from the least to the greatest; "-" where a run has none."""
        if any(name not in run.ends for run in self.runs):
            return "-"
        values = self.values(name)
        if not all(map(math.isfinite, values)):
            return "not finite"
        spread = f" ({in_figures(name, min(values))} to {in_figures(name, max(values))})" if len(values) > 1 else ""
        return in_figures(name, mean(values)) + spread

    @property
    def median_seconds(self) -> dict[str, float]:
        """By part and in `total`, the median over the steps (the first compiles and loads), the mean of the runs."""
        return {name: mean(run.median_seconds[name] for run in self.runs) for name in self.runs[0].median_seconds}

    @property
    def bytes_per_step(self) -> float:
        """Into the PS, the mean of the runs."""
        return float(mean(run.summary["bytes_into_ps"] / run.summary["steps"] for run in self.runs))

    def reached(self, target: Target) -> float | None:
        """Seconds until a score as good as that, the mean of the runs; None unless all of them came so far."""
        hits = [run.reached(target) for run in self.runs]
        return None if None in hits else mean(hit[1] for hit in hits if hit is not None)


def methods(runs: list[FinishedRun]) -> list[Method]:
    """The runs by method, in the order of their first runs."""
    alike: dict[str, list[FinishedRun]] = {}
    for run in runs:
        fields = {name: value for name, value in fields_of(run.config).items() if name not in _SEEDS | {"output"}}
        alike.setdefault(json.dumps(fields, default=str), []).append(run)
    groups = list(alike.values())
    names = Counter(group[0].config.name for group in groups)
    found = []
    for group in groups:
        name = group[0].config.name
        namesakes = [fields_of(other[0].config) for other in groups if other[0].config.name == name]
        told = {} if names[name] == 1 else differing(namesakes)[namesakes.index(fields_of(group[0].config))]
        found.append(Method(", ".join([name, *(f"{field} = {value}" for field, value in told.items())]), group))
    return found


def fields_of(config: Config) -> dict[str, Any]:
    """All fields, those of sections as `section.field`."""
    flat: dict[str, Any] = {}
    for name, value in config.model_dump(mode="json").items():
        inner = value if isinstance(value, dict) else {}
        flat |= {f"{name}.{field}": of for field, of in inner.items()} or {name: value}
    return flat


def differing(all_fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each, the fields in which they are not all equal, without seeds and names."""
    changing = [
        name
        for name in all_fields[0]
        if name not in _SEEDS | _NAMES and any(fields[name] != all_fields[0][name] for fields in all_fields)
    ]
    return [{name: fields[name] for name in changing} for fields in all_fields]
