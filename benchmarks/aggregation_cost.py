"""What vote and aggregation cost against the number of workers, and against the number of parameters.

OMP_NUM_THREADS=1 python -m benchmarks.aggregation_cost [--rounds 5] [--csv docs/figures/aggregation-cost.csv]
python -m benchmarks.aggregation_cost --of docs/figures/aggregation-cost.csv

Rules on all p vectors; pairs on p/3 votes, each of which is hashed first, as the PS does with what it has fetched. One
thread. The picture is drawn by experiments/figures.sh. With the table goes the power of p that fits each.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from benchmarks.measure import RESNET18, gradients, interleaved, keep_memory, machine
from detox.aggregators import PAIRS, AggregatorError, Hierarchy, create_hierarchy
from experiments.cells import markdown, write_csv

RULES = ("median", "krum", "bulyan")
AXES = {
    "workers": [(p, 200_000) for p in (5, 9, 15, 27, 45, 75, 135, 225)],
    "parameters": [(45, d) for d in (10_000, 100_000, 1_000_000, RESNET18)],
}
"""(p, d) of the points of each panel."""
MOST = 2  # bad votes
FROM = 45  # workers


def costs(rounds: int) -> Iterator[dict[str, Any]]:
    """A row a point: the median seconds of one rule, or pair with its vote."""
    for axis, points in AXES.items():
        for p, d in points:
            x = gradients(p, d)
            jobs = {}
            for name in (*RULES, *PAIRS):
                hierarchy, votes = create_hierarchy(name), x[: p // 3] if name in PAIRS else x
                f = max((f for f in range(MOST + 1) if served(hierarchy, len(votes), f)), default=None)
                if f is not None:
                    jobs[name] = partial(step, hierarchy, votes, f, name in PAIRS)
            for name, seconds in interleaved(jobs, rounds).items():
                yield {"axis": axis, "rule": name, "p": p, "d": d, "seconds": round(seconds, 6)}


def step(hierarchy: Hierarchy, votes: np.ndarray, f: int, vote: bool) -> None:
    """Aggregates; with a vote, hashes what was fetched first."""
    if vote:
        for row in votes:
            blake3(row.view(np.uint8)).digest()
    hierarchy(votes, f=f, rng=np.random.default_rng(0))


def served(hierarchy: Hierarchy, n: int, f: int) -> bool:
    """Whether the hierarchy takes n votes of which f are bad."""
    try:
        hierarchy.check(n, f)
    except AggregatorError:
        return False
    return True


def powers(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """By rule, the e for which p^e fits its seconds from `FROM` workers on: least squares of the logarithms."""
    points = [row for row in rows if row["axis"] == "workers" and int(row["p"]) >= FROM]
    found = {}
    for rule in dict.fromkeys(row["rule"] for row in points):
        of_rule = [row for row in points if row["rule"] == rule]
        p, seconds = (np.log([float(row[column]) for row in of_rule]) for column in ("p", "seconds"))
        found[rule] = float(np.polyfit(p, seconds, 1)[0])
    return found


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser("benchmarks.aggregation_cost", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, interleaved")
    parser.add_argument("--csv", type=Path, help="where the rows go, too")
    parser.add_argument("--of", type=Path, help="measures nothing: fits the rows of this file")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.of:
        with options.of.open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        keep_memory()
        for row in costs(options.rounds):
            rows.append(row)
            print(*row.values(), file=sys.stderr)
        print(f"{machine()}\n\n{markdown(rows)}\n")
    if options.csv:
        write_csv(rows, options.csv)
    print(markdown([{"rule": rule, f"power of p from {FROM} on": round(e, 2)} for rule, e in powers(rows).items()]))


if __name__ == "__main__":
    main()
