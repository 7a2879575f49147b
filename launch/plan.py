"""`detox-ps plan`: before a run, how many bad votes to expect, what withstands them, and what it costs."""

import json
import math
import sys
from argparse import ArgumentParser
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from detox.aggregators import AggregatorError
from detox.aggregators.hierarchy import PAIRS
from detox.launch.config import ConfigError
from detox.launch.figures import figure_of, picture
from detox.launch.forecast import Defence, Setting, bytes_into_ps, defend, find, server_seconds
from detox.ps.theory import enough_redundancy, expected_bad_votes, tail, tail_bound, tail_bound_holds

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plan(argv: list[str]) -> int:
    """Prints the plan and draws the chart; returns the exit status."""
    parser = ArgumentParser(
        "detox-ps plan", description="How many votes q liars win, what withstands them, and what it costs."
    )
    parser.add_argument("-p", type=int, required=True, help="workers")
    parser.add_argument("-q", type=int, required=True, help="Byzantine workers among them")
    parser.add_argument("-r", type=int, default=3, help="workers a group (3)")
    parser.add_argument(
        "--classes", type=int, nargs="+", default=[], metavar="N", help="sizes of the classes of hosts with equal bits"
    )
    parser.add_argument("-d", type=int, default=61_706, help="parameters of the model (LeNet's 61706)")
    parser.add_argument("--steps", type=int, default=1, help="steps in which nothing may fail, for probabilities (1)")
    parser.add_argument(
        "--aggregator", nargs="+", default=[*PAIRS, "mean"], metavar="NAME", help="pairs or rules (the pairs, mean)"
    )
    parser.add_argument("--find", type=float, metavar="P", help="least r with a failure probability of at most P")
    parser.add_argument("--no-measure", action="store_true", help="leave out the seconds of the PS, measured here")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the chart (extra `plot`)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(argv)
    setting = Setting(options.p, options.q, options.r, options.steps, tuple(options.classes))
    try:
        setting.check()
        if options.d < 1 or not (options.find is None or 0 <= options.find <= 1):
            raise ConfigError("-d is at least 1, and --find a probability, 0 to 1")
        defences = [defend(setting, name) for name in options.aggregator]
        facts = as_json(setting, defences, options.d, options.find, not options.no_measure)
    except (ConfigError, AggregatorError) as error:
        print(f"detox-ps: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(facts, indent=2, allow_nan=False))
    else:
        _print(facts)
    if options.plot is not None:
        return picture(lambda: chart(setting, defences), options.plot)
    return 0


def as_json(setting: Setting, defences: list[Defence], d: int, wanted: float | None, measure: bool) -> dict[str, Any]:
    """All that the tables say."""
    distribution = setting.distribution
    sent, vanilla = bytes_into_ps(setting, d)
    bound = enough_redundancy(setting.q, setting.r)
    mean = expected_bad_votes(setting.p, setting.q, setting.r, setting.votes)
    rows = []
    for defence in defences:
        row = asdict(defence)
        if wanted is not None:
            row["least_r"] = find(setting, defence.name, wanted)
        if measure:
            times = server_seconds(setting, defence, d)
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
    console = Console(highlight=False, markup=False, width=200)
    p, q, r, votes, steps = (facts[name] for name in ("p", "q", "r", "votes", "steps"))
    within = ""
    if facts["classes"]:
        sizes = ", ".join(map(str, facts["classes"]))
        within = f" within classes of {sizes}; {facts['idle']} have nothing to do, and {p // r - votes} votes are lost"
    console.print(f"{p} workers, {q} of them Byzantine, in {votes} groups of {r}{within}.", end=" ")
    console.print("Bad votes a step, if groups are secret:\n")
    table = Table("bad votes", "exactly", "so many or more", box=SIMPLE_HEAD, show_edge=False)
    if facts["paper_bound_applies"]:
        table.add_column("the paper's bound")
    for k in range(facts["worst_case"] + 1):
        bound = [_chance(facts["paper_tail_bound"][k])] if facts["paper_bound_applies"] else []
        table.add_row(str(k), _chance(facts["distribution"][k]), _chance(facts["tail"][k]), *bound)
    console.print(table)
    console.print(f"{facts['expected_bad_votes']:.4f} on average; {facts['worst_case']} if the liars know the groups.")
    console.print(_bounds_in_words(facts))
    in_steps = f"in {steps} steps" if steps > 1 else "a step"
    table = Table(
        "aggregator", f"stands, of {votes} votes", f"fails {in_steps}", "any q up to", box=SIMPLE_HEAD, show_edge=False
    )
    if facts["wanted"] is not None:
        table.add_column(f"least r for {facts['wanted']:g}")
    table.add_column(f"without groups: stands, of {p}")
    measured = "seconds" in facts["aggregators"][0]
    if measured:
        table.add_column("ms of the PS")
        table.add_column("without groups")
    for row in facts["aggregators"]:
        served = row["stands"] >= 0
        cells = [
            row["name"],
            str(row["stands"]) if served else "too few votes",
            _chance(row["failure"]) if served else "-",
        ]
        cells.append(str(row["any_placement"]) if served else "-")
        if facts["wanted"] is not None:
            cells.append(str(row["least_r"] or "none"))
        cells.append(
            f"{row['vanilla']}: {row['vanilla_stands']}" if row["vanilla_stands"] >= 0 else f"{row['vanilla']}: -"
        )
        if measured:
            cells += ["-" if t is None else f"{1000 * t:.1f}" for t in (row["seconds"], row["vanilla_seconds"])]
        table.add_row(*cells)
    console.print("", table, sep="\n")
    mine, vanilla = facts["bytes_into_ps"], facts["vanilla_bytes_into_ps"]
    console.print(
        f"Against the same batch without groups: {r} times the samples a worker; into the PS {mine / 1e6:.2f} MB a\n"
        f"step, {mine / vanilla:.3f} of {vanilla / 1e6:.2f} MB (d = {facts['d']}, uncompressed)."
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


def chart(setting: Setting, defences: list[Defence]) -> "Figure":
    """Left the tail of the bad votes for each r that divides p; right failures over q, at this r."""
    figure, axes = figure_of(1, 2, 12, 4.5)
    tails, failures = axes[0]
    bounded = []
    for r in (r for r in range(1, setting.p // 2 + 1, 2) if setting.p % r == 0):
        at = replace(setting, r=r)
        shares = [float(share) for share in tail(at.distribution)[: at.worst + 1]]
        tails.plot(range(len(shares)), shares, "o-", markersize=4, label=f"r = {r}" + " (this)" * (r == setting.r))
        if enough_redundancy(setting.q, r) and r > 1 and tail_bound_holds(at.distribution):
            bounded.append(r)
    if bounded:
        bound = [tail_bound(k) for k in range(setting.q + 1)]
        tails.plot(range(len(bound)), bound, "k:", label=f"the paper's bound, from r = {bounded[0]} on")
    tails.set(xlabel="k bad votes", ylabel="probability of k or more, a step", yscale="log", ylim=(1e-9, 2))
    tails.set_title(f"p = {setting.p}, q = {setting.q}")
    liars = [replace(setting, q=q) for q in range(max(setting.p // 2, setting.q) + 1)]
    for number, defence in enumerate(defences):
        if defence.stands >= 0:
            chances = [at.failure(defence.stands) for at in liars]
            label = f"{defence.name}: stands {defence.stands}"
            failures.plot(range(len(liars)), chances, ("-", "--", ":")[number % 3], label=label)
    failures.axvline(setting.q, color="grey", linewidth=0.8)
    failures.set(xlabel="q Byzantine workers", yscale="log", ylim=(1e-9, 2))
    failures.set_ylabel("probability of failure, " + (f"{setting.steps} steps" if setting.steps > 1 else "a step"))
    failures.set_title(f"p = {setting.p}, r = {setting.r}")
    for one in (tails, failures):
        one.xaxis.get_major_locator().set_params(integer=True)
        one.grid(alpha=0.3)
        one.legend(fontsize=9)
    return figure
