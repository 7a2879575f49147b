"""Which finished runs are the same method with other seeds, and what that comes to."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from statistics import mean
from typing import Any

from detox.config import Config
from detox.reports.results import FinishedRun, in_figures
from detox.reports.target import Target

_SEEDS = {"seed", "secret_seed", "attack.seed"}
_NAMES = {"name", "output"}


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
        known = [name for name in self.runs[0].median_seconds if all(name in run.median_seconds for run in self.runs)]
        return {name: mean(run.median_seconds[name] for run in self.runs) for name in known}

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
