"""`detox-ps plan`: before a run, what can check its votes, how many are bad, what tolerates them, and what it costs."""

import json
import math
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from detox.aggregators.pairs import PAIRS
from detox.assignment.theory import enough_redundancy, expected_bad_votes, tail, tail_bound, tail_bound_holds
from detox.config import ConfigError
from detox.reports import known, search
from detox.reports.figures import picture, picture_file
from detox.reports.forecast import (
    Forecast,
    Setting,
    bytes_into_ps,
    bytes_into_server,
    find,
    forecast,
    memory_of,
    server_seconds,
)
from detox.reports.plan_chart import chart
from detox.reports.plan_tables import print_plan
from detox.reports.search import LIMITS, read_limits

_PARAMETERS = 10**15


def plan(argv: list[str]) -> int:
    """Prints the plan and draws the chart; returns 0. Raises UserError where it cannot."""
    options = parser().parse_args(argv)
    names = ("p", "q", "r", "steps", "d", "servers", "classes", "aggregator", "rate", "runs")
    failure, limits = _wanted(options.find)
    chosen = {name: getattr(options, name) for name in names}
    facts = expect(**chosen, find=failure, limits=limits, measure=not options.no_measure)
    if options.json:
        print(json.dumps(facts, indent=2, allow_nan=False))
    else:
        print_plan(facts)
    if options.plot is not None:
        setting = Setting(options.p, options.q, options.r, options.steps, tuple(options.classes))
        picture(lambda: chart(setting, [forecast(setting, name) for name in options.aggregator]), options.plot)
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps plan",
        description="What checks the votes of p workers, how many of them q Byzantine workers win, and what it costs.",
        allow_abbrev=False,
    )
    line.add_argument("-p", type=int, required=True, help="workers")
    line.add_argument("-q", type=int, required=True, help="Byzantine workers among them, at most")
    line.add_argument("-r", type=int, default=3, help="workers per group (3)")
    line.add_argument(
        "--classes", type=int, nargs="+", default=[], metavar="N", help="sizes of the classes of hosts with equal bits"
    )
    line.add_argument("-d", type=int, default=61_706, help="parameters of the model (LeNet's 61706)")
    line.add_argument("--servers", type=int, default=1, metavar="S", help="servers that share the model (1)")
    line.add_argument("--steps", type=int, default=1, help="steps in which nothing may fail, for probabilities (1)")
    line.add_argument(
        "--aggregator", nargs="+", default=[*PAIRS, "mean"], metavar="NAME", help="pairs or rules (the pairs, mean)"
    )
    line.add_argument(
        "--find",
        nargs="+",
        default=[],
        metavar="LIMIT",
        help="the cheapest checks that keep all limits, such as overhead=3%% named=100; "
        + "; ".join(f"{name}: {words.replace('%', '%%')}" for name, words in LIMITS.items())
        + "; a number alone: the least r with a failure probability of at most this",
    )
    line.add_argument(
        "--rate", type=float, default=1.0, help="share of its steps in which a faulty worker computes wrong (1)"
    )
    line.add_argument(
        "--runs",
        type=int,
        help="simulated runs of each number that no formula gives (20, fewer from p = 46 on, 0 from q = 16 on)",
    )
    line.add_argument("--no-measure", action="store_true", help="leave out the seconds of the PS, measured here")
    line.add_argument(
        "--plot", type=picture_file, metavar="FILE", help="draw the chart: .png, .pdf, .svg (extra `plot`)"
    )
    line.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return line


def expect(
    p: int,
    q: int,
    r: int = 3,
    *,
    steps: int = 1,
    d: int = 61_706,
    servers: int = 1,
    classes: Sequence[int] = (),
    aggregator: Sequence[str] = (*PAIRS, "mean"),
    find: float | None = None,
    limits: Mapping[str, float] | None = None,
    rate: float = 1.0,
    runs: int | None = None,
    measure: bool = True,
) -> dict[str, Any]:
    """All that `detox-ps plan` says, as its --json; from Python it is `detox.plan`.

    Args:
        p, q, r: workers, Byzantine ones among them, and workers per group.
        steps: in which nothing may fail, for probabilities.
        d: parameters of the model; unset: LeNet's.
        servers: that share the model.
        classes: sizes of the classes of hosts with equal bits; empty: all are of one.
        aggregator: names of pairs or rules.
        find: a failure probability, for which the least r is looked for.
        limits: for which the cheapest checks are looked for, see detox.reports.choices.LIMITS.
        rate: share of its steps in which a faulty worker computes wrong.
        runs: simulated runs of each number that no formula gives; 0: none; unset: 20, fewer where workers are many.
        measure: whether to measure the seconds of the PS here.

    Raises:
        ConfigError: a number is out of range, or they do not fit together.
        AggregatorError: there is no such aggregator.
    """
    setting = Setting(p, q, r, steps, tuple(classes))
    setting.check()
    if not 1 <= d <= _PARAMETERS or not (find is None or 0 <= find <= 1):
        raise ConfigError(f"-d is at least 1 and at most {_PARAMETERS}, and --find a probability, 0 to 1")
    if not 0 < rate <= 1 or (runs is not None and runs < 0):
        raise ConfigError("--rate is above 0 and at most 1, and --runs at least 0")
    if not 1 <= servers <= 256:
        raise ConfigError(f"--servers is at least 1 and at most 256, got {servers}")
    into: dict[str, Any] = {"memory": memory_of(setting, d, servers)}
    if servers > 1:
        into |= {"servers": servers, "bytes_into_server": bytes_into_server(setting, d, servers)}
    facts = into | as_json(setting, [forecast(setting, name) for name in aggregator], d, find, measure)
    if classes:
        return facts
    return facts | search.as_json(p, q, r, rate, runs, limits or {}) | known.as_json(p, q, r)


def as_json(setting: Setting, forecasts: list[Forecast], d: int, wanted: float | None, measure: bool) -> dict[str, Any]:
    """All that the tables say of r as given."""
    distribution = setting.distribution
    sent, vanilla = bytes_into_ps(setting, d)
    bound = enough_redundancy(setting.q, setting.r)
    mean = expected_bad_votes(setting.p, setting.q, setting.r, setting.votes)
    rows = []
    for one in forecasts:
        row = asdict(one)
        if wanted is not None:
            row["least_r"] = find(setting, one.name, wanted)
        if measure:
            times = server_seconds(setting, one, d)
            row["seconds"], row["vanilla_seconds"] = (None if math.isnan(t) else t for t in times)
        rows.append(row)
    return {
        **asdict(setting),
        "d": d,
        "votes": setting.votes,
        "idle": setting.p - setting.votes * setting.r,
        "expected_bad_votes": float(mean),
        "worst_case": setting.worst,
        "distribution": [float(share) for share in distribution],
        "tail": [float(share) for share in tail(distribution)],
        "paper_bound_applies": bound,
        "paper_tail_bound": [tail_bound(k) for k in range(setting.votes + 1)] if bound else None,
        "paper_mean_bound_holds": mean <= 1 if bound else None,
        "paper_tail_bound_holds": tail_bound_holds(distribution) if bound else None,
        "samples_per_worker": setting.r,
        "bytes_into_ps": sent,
        "vanilla_bytes_into_ps": vanilla,
        "wanted": wanted,
        "aggregators": rows,
    }


def _wanted(words: Sequence[str]) -> tuple[float | None, dict[str, float]]:
    """What --find asks: a failure probability, if any, and limits of the checks."""
    numbers = [word for word in words if "=" not in word]
    if len(numbers) > 1:
        raise ConfigError(f"--find takes one probability, got {' '.join(numbers)}")
    try:
        failure = float(numbers[0]) if numbers else None
    except ValueError:
        raise ConfigError(f"--find {numbers[0]}: a probability, or a limit such as overhead=3% or named=100") from None
    return failure, read_limits(word for word in words if "=" in word)
