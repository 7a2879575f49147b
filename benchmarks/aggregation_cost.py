"""What vote and aggregation cost against the number of workers, and against the number of parameters.

OMP_NUM_THREADS=1 python -m benchmarks.aggregation_cost [--rounds 5] [--csv docs/figures/aggregation-cost.csv]

Rules on all p vectors; pairs on p/3 votes, each of which is hashed first, as the PS does with what it has fetched. One
thread. The picture is drawn by experiments/figures.sh.
"""

import argparse
import sys
from collections.abc import Iterator
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


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser("benchmarks.aggregation_cost", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, interleaved")
    parser.add_argument("--csv", type=Path, help="where the rows go, too")
    options = parser.parse_args()
    keep_memory()
    rows = []
    for row in costs(options.rounds):
        rows.append(row)
        print(*row.values(), file=sys.stderr)
    if options.csv:
        write_csv(rows, options.csv)
    print(f"{machine()}\n\n{markdown(rows)}")


if __name__ == "__main__":
    main()
