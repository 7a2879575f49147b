"""What pictures show of methods, in numbers that can be kept: written beside a report, read again to draw."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np

from detox.ps.stopwatch import PARTS, WAITS
from detox.reports.looks import Look, spelled
from detox.reports.methods import Method

COLUMNS = ("method", "rule", "r", "p", "attack", "what", "step", "value", "least", "greatest")
"""Of the table, a row a number. `what` is a score, a part of a step, of its waiting, or `total` (seconds, median),
`clock` (seconds of training until that step), `reached` (seconds until a score), `bytes` (into the PS, per step), or
one of CAUGHT; least and greatest are of the seeds."""
CAUGHT = ("bad_gradients", "true_positives", "false_positives")
"""Gradients of Byzantine workers, those of them that were outvoted, and honest ones that were; of all seeds."""
_TIMES = (*PARTS, *WAITS, "total", "reached")


class Point(NamedTuple):
    """A score after a step: the mean of the seeds, and from the least to the greatest; NaN: not finite."""

    step: int
    value: float
    least: float
    greatest: float


@dataclass(frozen=True)
class Drawn:
    """A method.

    Attributes:
        label: as in a table.
        look: decides its colour and line.
        r: holders of a file.
        p: workers.
        attack: kind; "none" without Byzantine workers.
        seconds: median of each part of a step and of `total`; empty: not known.
        scores: by name, the points in order.
        clock: seconds of training at each of these steps.
        bytes: into the PS, per step; None: not known.
        caught: by the names of CAUGHT; empty: not known.
    """

    label: str
    look: Look
    r: int
    p: int
    attack: str
    seconds: dict[str, float] = field(default_factory=dict)
    scores: dict[str, list[Point]] = field(default_factory=dict)
    clock: dict[int, float] = field(default_factory=dict)
    bytes: float | None = None
    caught: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, method: Method) -> "Drawn":
        """From finished runs."""
        config, runs = method.config, method.runs
        scores: dict[str, list[Point]] = {}
        clock = {}
        for of in zip(*(run.scores for run in runs), strict=False):
            clock[of[0].step] = mean(one.seconds for one in of)
            for name in of[0].scores:
                values = np.array([one.scores.get(name) for one in of], float)
                # What is not finite has no point, and a mean of the other seeds would flatter.
                point = Point(of[0].step, float(values.mean()), float(values.min()), float(values.max()))
                scores.setdefault(name, []).append(point)
        attack = config.attack.kind if config.q else "none"
        seconds = dict(method.median_seconds)
        label, look = spelled(method.label), look_of(method)
        counts = np.sum([(run.bad, *run.positives) for run in runs], axis=0).tolist()
        caught = dict(zip(CAUGHT, counts, strict=True))
        return cls(label, look, config.r, config.p, attack, seconds, scores, clock, method.bytes_per_step, caught)


def side_by_side(methods: Sequence[Method]) -> list[Method]:
    """In the order of legends: DETOX beside the rule alone."""
    return sorted(methods, key=lambda method: look_of(method).order)


def look_of(method: Method) -> Look:
    """From its config."""
    config = method.config
    return Look.of(config.aggregator.name or config.aggregator.a1 or "", config.r, config.aggregator.pre)


def as_table(found: Sequence[Drawn]) -> str:
    """CSV of COLUMNS."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found:
        head = (one.label, one.look.rule, one.r, one.p, one.attack)
        writer.writerows((*head, *row) for row in _rows(one))
    return text.getvalue()


def _rows(one: Drawn) -> Iterator[tuple[Any, ...]]:
    for name, points in one.scores.items():
        yield from ((name, *point) for point in points)
    yield from (("clock", step, value) for step, value in one.clock.items())
    yield from ((name, "", value) for name, value in one.seconds.items())
    if one.bytes is not None:
        yield "bytes", "", one.bytes
    yield from ((name, "", value) for name, value in one.caught.items())


def read_table(path: Path) -> list[Drawn]:
    """What `as_table` wrote, or a table of a page in its columns; in its order."""
    found: dict[tuple[str, ...], Drawn] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = row["method"], row["rule"], row["r"], row["p"], row["attack"]
            r, p = int(row["r"]), int(row["p"])
            one = found.setdefault(key, Drawn(row["method"], Look(row["rule"], r > 1), r, p, row["attack"]))
            value, what = float(row["value"]), row["what"]
            if what in _TIMES:
                one.seconds[what] = value
            elif what == "clock":
                one.clock[int(row["step"])] = value
            elif what == "bytes":
                found[key] = replace(one, bytes=value)
            elif what in CAUGHT:
                one.caught[what] = int(value)
            else:
                spread = (float(row[name] or value) for name in ("least", "greatest"))
                one.scores.setdefault(what, []).append(Point(int(row["step"]), value, *spread))
    return list(found.values())
