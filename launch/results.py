"""What finished runs have in their folders, and which of them are the same method with other seeds."""

import json
import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from statistics import mean, median
from typing import Any

from detox.launch.config import Config
from detox.launch.placement import create_placement
from detox.ps.folder import RunFolder
from detox.ps.stopwatch import PARTS

_SEEDS = {"seed", "secret_seed", "attack.seed"}
_NAMES = {"name", "output"}


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

    @cached_property
    def named(self) -> tuple[int, int]:
        """Dissents of workers that were Byzantine in that step, and of workers that were not."""
        placement = create_placement(self.config)
        dissents = [line for line in self.ledger if line["kind"] in ("dissented", "convicted")]
        rightly = sum(line["worker"] in placement.byzantine(line["step"]) for line in dissents)
        return rightly, len(dissents) - rightly

    @property
    def accuracy(self) -> float | None:
        """Test accuracy at the end; None where the loss is not finite."""
        value: float | None = self.summary["test_accuracy"]
        return value

    @cached_property
    def seconds(self) -> list[float]:
        """Seconds from the start of the training to the end of each step."""
        return list(accumulate(sum(line["seconds"].values()) for line in self.metrics))

    @cached_property
    def median_seconds(self) -> dict[str, float]:
        """By part and in `total`, the median over the steps."""
        steps = [line["seconds"] | {"total": sum(line["seconds"].values())} for line in self.metrics]
        return {name: median(step[name] for step in steps) for name in (*PARTS, "total")}

    @cached_property
    def scores(self) -> list[tuple[int, float, float | None, float | None]]:
        """(step, seconds, accuracy, loss) of each evaluation; None where it is not finite."""
        return [
            (line["step"], seconds, line.get("accuracy"), line["loss"])
            for line, seconds in zip(self.metrics, self.seconds, strict=True)
            if "loss" in line
        ]

    def reached(self, accuracy: float) -> tuple[int, float] | None:
        """Step and seconds of the first evaluation with so much accuracy; None if it never came."""
        hits = ((step, seconds) for step, seconds, score, _ in self.scores if score is not None and score >= accuracy)
        return next(hits, None)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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

    @property
    def accuracies(self) -> list[float]:
        """Of the runs, at the end; where the loss is not finite, nothing was learnt: 0."""
        return [run.accuracy or 0.0 for run in self.runs]

    @property
    def median_seconds(self) -> dict[str, float]:
        """By part and in `total`, the median over the steps (the first compiles and loads), the mean of the runs."""
        return {name: mean(run.median_seconds[name] for run in self.runs) for name in self.runs[0].median_seconds}

    @property
    def bytes_per_step(self) -> float:
        """Into the PS, the mean of the runs."""
        return float(mean(run.summary["bytes_into_ps"] / run.summary["steps"] for run in self.runs))

    def reached(self, accuracy: float) -> float | None:
        """Seconds until so much accuracy, the mean of the runs; None unless all of them came so far."""
        hits = [run.reached(accuracy) for run in self.runs]
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
