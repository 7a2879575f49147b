"""`detox-ps plan`: before a run, how many bad votes to expect, what tolerates them, and what it costs."""

import json
import math
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from detox.aggregators import AggregatorError
from detox.aggregators.pairs import PAIRS
from detox.assignment.theory import enough_redundancy, expected_bad_votes, tail, tail_bound, tail_bound_holds
from detox.config import ConfigError
from detox.errors.words import counted
from detox.reports.figures import figure_of, picture, picture_file
from detox.reports.forecast import Forecast, Setting, bytes_into_ps, find, forecast, server_seconds
from detox.reports.terminal import printer

_PARAMETERS = 10**15
_ROWS = 60  # of the table
_RARE = 1e-12
_EFFORT_OF_ALL = 1e12  # of the exact counts of a chart, see detox.assignment.theory.effort

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plan(argv: list[str]) -> int:
    """Prints the plan and draws the chart; returns the exit status."""
    options = parser().parse_args(argv)
    chosen = {name: getattr(options, name) for name in ("p", "q", "r", "steps", "d", "classes", "aggregator", "find")}
    try:
        facts = expect(**chosen, measure=not options.no_measure)
    except (ConfigError, AggregatorError) as error:
        print(f"detox-ps: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(facts, indent=2, allow_nan=False))
    else:
        _print(facts)
    if options.plot is not None:
        setting = Setting(options.p, options.q, options.r, options.steps, tuple(options.classes))
        return picture(lambda: chart(setting, [forecast(setting, name) for name in options.aggregator]), options.plot)
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps plan",
        description="How many votes q Byzantine workers win, what tolerates them, and what it costs.",
        allow_abbrev=False,
    )
    line.add_argument("-p", type=int, required=True, help="workers")
    line.add_argument("-q", type=int, required=True, help="Byzantine workers among them")
    line.add_argument("-r", type=int, default=3, help="workers per group (3)")
    line.add_argument(
        "--classes", type=int, nargs="+", default=[], metavar="N", help="sizes of the classes of hosts with equal bits"
    )
    line.add_argument("-d", type=int, default=61_706, help="parameters of the model (LeNet's 61706)")
    line.add_argument("--steps", type=int, default=1, help="steps in which nothing may fail, for probabilities (1)")
    line.add_argument(
        "--aggregator", nargs="+", default=[*PAIRS, "mean"], metavar="NAME", help="pairs or rules (the pairs, mean)"
    )
    line.add_argument("--find", type=float, metavar="P", help="least r with a failure probability of at most P")
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
    classes: Sequence[int] = (),
    aggregator: Sequence[str] = (*PAIRS, "mean"),
    find: float | None = None,
    measure: bool = True,
) -> dict[str, Any]:
    """All that `detox-ps plan` says, as its --json; from Python it is `detox.plan`.

    Args:
        p, q, r: workers, Byzantine ones among them, and workers per group.
        steps: in which nothing may fail, for probabilities.
        d: parameters of the model; unset: LeNet's.
        classes: sizes of the classes of hosts with equal bits; empty: all are of one.
        aggregator: names of pairs or rules.
        find: a failure probability, for which the least r is looked for.
        measure: whether to measure the seconds of the PS here.

    Raises:
        ConfigError: a number is out of range, or they do not fit together.
        AggregatorError: there is no such aggregator.
    """
    setting = Setting(p, q, r, steps, tuple(classes))
    setting.check()
    if not 1 <= d <= _PARAMETERS or not (find is None or 0 <= find <= 1):
        raise ConfigError(f"-d is at least 1 and at most {_PARAMETERS}, and --find a probability, 0 to 1")
    return as_json(setting, [forecast(setting, name) for name in aggregator], d, find, measure)


def as_json(setting: Setting, forecasts: list[Forecast], d: int, wanted: float | None, measure: bool) -> dict[str, Any]:
    """All that the tables say."""
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


def _print(facts: dict[str, Any]) -> None:
    console = printer()
    p, q, r, votes, steps = (facts[name] for name in ("p", "q", "r", "votes", "steps"))
    within = ""
    if facts["classes"]:
        sizes = ", ".join(map(str, facts["classes"]))
        within = f" within classes of {sizes}; {facts['idle']} have nothing to do, and {p // r - votes} votes are lost"
    groups = f"{counted(votes, 'group')} of {r}{within}"
    console.print(f"{counted(p, 'worker')}, {q} of them Byzantine, in {groups}.", end=" ")
    console.print("Bad votes per step, if groups are secret:\n")
    table = Table("bad votes", "exactly", "so many or more", box=SIMPLE_HEAD, show_edge=False)
    if facts["paper_bound_applies"]:
        table.add_column("the paper's bound")
    rows = range(facts["worst_case"] + 1)
    seen = rows if len(rows) <= _ROWS else [k for k in rows if facts["distribution"][k] >= _RARE][:_ROWS]
    for k in seen:
        bound = [_chance(facts["paper_tail_bound"][k])] if facts["paper_bound_applies"] else []
        table.add_row(str(k), _chance(facts["distribution"][k]), _chance(facts["tail"][k]), *bound)
    console.print(table)
    if len(seen) < len(rows):
        console.print(
            f"{len(rows) - len(seen)} rows, below {_RARE:g} or beyond {_ROWS}, are left out; --json has them."
        )
    console.print(
        f"{facts['expected_bad_votes']:.4f} on average; {facts['worst_case']} if the groups are known to them."
    )
    console.print(_bounds_in_words(facts))
    in_steps = f"in {steps} steps" if steps > 1 else "per step"
    table = Table(
        "aggregator",
        f"tolerates, of {votes} votes",
        f"fails {in_steps}",
        "any q up to",
        box=SIMPLE_HEAD,
        show_edge=False,
    )
    if facts["wanted"] is not None:
        table.add_column(f"least r for {facts['wanted']:g}")
    table.add_column(f"without groups: tolerates, of {p}")
    measured = "seconds" in facts["aggregators"][0]
    if measured:
        table.add_column("ms of the PS")
        table.add_column("without groups")
    for row in facts["aggregators"]:
        served = row["tolerates"] >= 0
        cells = [
            row["name"],
            str(row["tolerates"]) if served else "too few votes",
            _chance(row["failure"]) if served else "-",
        ]
        cells.append(str(row["any_placement"]) if served else "-")
        if facts["wanted"] is not None:
            cells.append(str(row["least_r"] or "none"))
        cells.append(
            f"{row['vanilla']}: {row['vanilla_tolerates']}" if row["vanilla_tolerates"] >= 0 else f"{row['vanilla']}: -"
        )
        if measured:
            cells += ["-" if t is None else f"{1000 * t:.1f}" for t in (row["seconds"], row["vanilla_seconds"])]
        table.add_row(*cells)
    console.print("", table, sep="\n")
    mine, vanilla = facts["bytes_into_ps"], facts["vanilla_bytes_into_ps"]
    console.print(
        f"Against the same batch without groups: {r} times the samples per worker; into the PS {mine / 1e6:.2f} MB\n"
        f"per step, {mine / vanilla:.3f} of {vanilla / 1e6:.2f} MB (d = {facts['d']}, uncompressed)."
        + (" Seconds of the PS: digests and aggregation, here, on one thread." if measured else "")
    )


def _bounds_in_words(facts: dict[str, Any]) -> str:
    p, q = facts["p"], facts["q"]
    if not facts["paper_bound_applies"]:
        least = 3 + 2 * math.log2(q)
        return f"The paper's bounds (1 on average, an exponential tail) take r >= 3 + 2 log2(q) = {least:.1f}."
    names = {"paper_mean_bound_holds": "1 on average", "paper_tail_bound_holds": "the column above"}
    broken = [words for name, words in names.items() if not facts[name]]
    if not broken:
        return "The paper's bounds, 1 on average and the column above, hold here."
    verb = "does" if len(broken) == 1 else "do"
    return f"The paper's bounds take a small q/p too: at q/p = {q / p:.2f} {' and '.join(broken)} {verb} not hold."


def _chance(share: float) -> str:
    """A probability, never rounded to 0 or 1."""
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    return f"{share:.2%}" if 0.0001 <= share <= 0.9999 else f"{share:.1e}" if share < 0.5 else f"1 - {1 - share:.1e}"


def chart(setting: Setting, forecasts: list[Forecast]) -> "Figure":
    """Left the tail of the bad votes for each r that divides p; right failures over q, at this r.

    Where these take too long to count, some are left out.
    """
    figure, axes = figure_of(1, 2, 12, 4.5)
    tails, failures = axes[0]
    bounded = []
    for r in (r for r in range(1, setting.p // 2 + 1, 2) if setting.p % r == 0):
        at = replace(setting, r=r)
        if at.effort > _EFFORT_OF_ALL / 10:
            continue
        shares = [float(share) for share in tail(at.distribution)[: at.worst + 1]]
        tails.plot(range(len(shares)), shares, "o-", markersize=4, label=f"r = {r}" + " (this)" * (r == setting.r))
        if enough_redundancy(setting.q, r) and r > 1 and tail_bound_holds(at.distribution):
            bounded.append(r)
    if bounded:
        bound = [tail_bound(k) for k in range(setting.q + 1)]
        tails.plot(range(len(bound)), bound, "k:", label=f"the paper's bound, from r = {bounded[0]} on")
    tails.set(xlabel="k bad votes", ylabel="probability of k or more, per step", yscale="log", ylim=(1e-9, 2))
    tails.set_title(f"p = {setting.p}, q = {setting.q}")
    last = max(setting.p // 2, setting.q)
    points = min(last, max(4, int(_EFFORT_OF_ALL / (1 + replace(setting, q=last).effort))), 200)
    settings = [replace(setting, q=last * point // max(points, 1)) for point in range(points + 1)]
    for number, one in enumerate(forecasts):
        if one.tolerates >= 0:
            chances = [at.failure(one.tolerates) for at in settings]
            label = f"{one.name}: tolerates {one.tolerates}"
            failures.plot([at.q for at in settings], chances, ("-", "--", ":")[number % 3], label=label)
    failures.set(xlabel="q Byzantine workers")
    if any(chance > 0 for line in failures.lines for chance in line.get_ydata()):
        failures.set(yscale="log", ylim=(1e-9, 2))
    failures.axvline(setting.q, color="grey", linewidth=0.8)
    failures.set_ylabel("probability of failure, " + (f"{setting.steps} steps" if setting.steps > 1 else "per step"))
    failures.set_title(f"p = {setting.p}, r = {setting.r}")
    for one in (tails, failures):
        one.xaxis.get_major_locator().set_params(integer=True)
        one.grid(alpha=0.3)
        if one.get_legend_handles_labels()[0]:
            one.legend(fontsize=9)
    return figure
