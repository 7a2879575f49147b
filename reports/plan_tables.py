"""What `detox-ps plan` prints."""

import math
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from detox.errors.words import counted
from detox.reports.forecast import TIMED_ENTRIES
from detox.reports.known import print_known
from detox.reports.terminal import printer

_ROWS = 60  # of the table of bad votes
_RARE = 1e-12


def print_plan(facts: Mapping[str, Any]) -> None:
    """What to take, what there is to choose from, and r as given in detail."""
    console = printer()
    if "choices" in facts:
        _choices(console, facts)
    _detail(console, facts)
    if "assignments" in facts:
        print_known(console, facts)


def _choices(console: Console, facts: Mapping[str, Any]) -> None:
    """What to take for this p and q, and the table of what there is."""
    p, q, choices = facts["p"], facts["q"], facts["choices"]
    by_name = {choice["set"]: choice for choice in choices}
    hopeless = ", half of them or more: no vote and no auditor can tell who is honest" if 2 * q >= p else ""
    console.print(f"{counted(p, 'worker')}, at most {q} of them Byzantine{hopeless}.")
    if q == 0:
        console.print("Then nothing has to be checked: r = 1.\n")
        return
    if (name := facts["advised"].get("hardware")) is not None:
        named = _number(by_name[name]["fault"]["simulated"]["named"]["median"])
        console.print(
            f"Against hardware that computes wrong: {name}, for {_share(by_name[name])} more computation.\n"
            f"One faulty worker{_wrong_in(facts)} is named after {named} steps, and the aggregator\n"
            "tolerates what it does until then."
        )
    if (name := facts["advised"].get("byzantine")) is not None:
        worst = _number(by_name[name]["worst"])
        console.print(
            f"Against {counted(q, 'Byzantine worker')}: {name}, for {_share(by_name[name])} more computation.\n"
            + (
                f"Some {worst} votes of a whole run are bad on average, whatever they do."
                if worst != "0"
                else "No vote is bad."
            )
        )
    if facts["limits"]:
        console.print(_found_in_words(facts))
    table = Table("set", "costs", "f", box=SIMPLE_HEAD, show_edge=False)
    for who in ("one faulty", f"{q} Byzantine, always", f"{q} Byzantine, where they win"):
        table.add_column(f"{who}:\nnamed")
        table.add_column("\nbad")
    table.add_column("where all are theirs:\nbad")
    for choice in choices:
        table.add_row(
            choice["set"],
            _share(choice),
            str(choice["f"]),
            *_cells(choice, choice["fault"]),
            *_cells(choice, choice["always"]),
            *(
                _cells(choice, choice["majority"])
                if choice["fields"]["copies"] == "all"
                else _ends(choice["unanimous"])
            ),
            _unseen(choice["unanimous"]),
        )
    console.print("", table, sep="\n")
    runs = choices[0]["runs"]
    simulated = f"median (and most) of {counted(runs, 'simulated run')}" if runs else _not_simulated(facts)
    console.print(
        "costs: copies beyond one per file, which workers and PS compute. f: bad votes per step for the aggregator to\n"
        "tolerate. named: steps until the last of them is out, as the graph of disagreements proves it. bad: votes of\n"
        f"the run until then. Both: {simulated}. per step: exact, until they are named.\n"
    )


def _not_simulated(facts: Mapping[str, Any]) -> str:
    return (
        "not simulated, for so many make it pointless" if 2 * facts["q"] >= facts["p"] else "not simulated, see --runs"
    )


def _found_in_words(facts: Mapping[str, Any]) -> str:
    """What --find has found."""
    limits = ", ".join(f"{name} {most:g}" for name, most in facts["limits"].items())
    if (found := facts["found"]) is not None:
        return f"The cheapest with {limits}: {found['set']}, for {_share(found)}."
    if (beyond := facts["beyond"]) is not None:
        return f"Nothing keeps {limits}; without the limit of the overhead it is {beyond['set']}, for {_share(beyond)}."
    if not facts["choices"][0]["runs"]:
        return f"Of what formulas tell, nothing keeps {limits}; nothing was simulated, see --runs."
    return f"Nothing keeps {limits}."


def _cells(choice: Mapping[str, Any], of: Mapping[str, Any]) -> tuple[str, str]:
    """After how many steps they are named, and how many votes are bad."""
    found, per_step = of["simulated"], _per_step(of["bad_per_step"])
    if found is None or found["named"]["median"] is None:
        return "-" if choice["checked"] and not choice["runs"] else "never", per_step
    return _both(found["named"]), _both(found["bad"])


def _ends(of: Mapping[str, Any]) -> tuple[str, str]:
    """The same for lies that no worker contradicts, which only an audit by the PS ends."""
    return "never" if of["named"] is None else f"{_number(of['named'])} on average", _unseen(of)


def _both(numbers: Mapping[str, Any]) -> str:
    middle = numbers["median"]
    return f"{middle:.1f}".removesuffix(".0") + f" ({_number(numbers['most'])})"


def _unseen(of: Mapping[str, Any]) -> str:
    if of["bad"] is not None:
        return f"{_number(of['bad'])} in all"
    return "-" if of["bad_per_step"] is None else _per_step(of["bad_per_step"])


def _per_step(bad: float) -> str:
    return f"{bad:.2g} per step" if bad else "0"


def _share(choice: Mapping[str, Any]) -> str:
    return f"{100 * choice['overhead']:.1f} %"


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"


def _wrong_in(facts: Mapping[str, Any]) -> str:
    return "" if facts["rate"] == 1 else f" that is wrong in {facts['rate']:g} of its steps"


def _detail(console: Console, facts: Mapping[str, Any]) -> None:
    p, q, r, votes, steps = (facts[name] for name in ("p", "q", "r", "votes", "steps"))
    within = ""
    if facts["classes"]:
        sizes = ", ".join(map(str, facts["classes"]))
        within = f" within classes of {sizes}; {facts['idle']} have nothing to do, and {p // r - votes} votes are lost"
    groups = f"{counted(votes, 'group')} of {r}{within}"
    console.print(f"In detail: {counted(p, 'worker')}, {q} of them Byzantine, in {groups}.", end=" ")
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
        + (f" Of {facts['servers']} servers {facts['bytes_into_server'] / 1e6:.2f} MB." if "servers" in facts else "")
        + " Memory: at most {server:.2f} GB at {where}, {rank:.2f} at a rank.".format(
            where="each server" if "servers" in facts else "the PS",
            **{name: size / 1e9 for name, size in facts["memory"].items()},
        )
        + (" Seconds of the PS: digests and aggregation, here, on one thread" + _scaled(facts["d"]) if measured else "")
    )


def _scaled(d: int) -> str:
    return f", of {TIMED_ENTRIES} entries and scaled." if d > TIMED_ENTRIES else "."


def _bounds_in_words(facts: Mapping[str, Any]) -> str:
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
