"""How the error of the hierarchical step falls with p and grows with d, for several rules within vote groups (A0).

The setting of experiments.mean_estimation at q = p/11; errors in units of sqrt(d/p), that of the mean of all samples.

python -m experiments.hierarchy_rates [--no-resume]
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine
from detox.aggregators import Hierarchy
from detox.assignment.seeds import stream
from experiments.cells import kept, markdown
from experiments.mean_estimation import R, sample

WORKERS, DIMENSIONS = (22_000, 220_000), (20, 100)
REPETITIONS = 10
PAIRS = {
    "mean in 3, median": Hierarchy("mean", "median", k=3),
    "median in 3, median": Hierarchy("median", "median", k=3),
    "Multi-Krum in 5, median": Hierarchy("multi_krum", "median", k=5),
    "geometric median in 3, geometric median": Hierarchy("geometric_median", "geometric_median", k=3),
}


def errors(p: int, q: int, d: int, repetition: int, seed: int) -> dict[str, float]:
    """||estimate - mu|| of each of PAIRS on the votes of one repetition."""
    drawn = sample(p, q, R, d, repetition, seed)
    mu = drawn.mu.astype(np.float64)
    return {
        name: float(np.linalg.norm(pair(drawn.votes, f=drawn.bad, rng=stream(seed, "votes", d, repetition)) - mu))
        for name, pair in PAIRS.items()
    }


def table(medians: dict[tuple[int, int], dict[str, float]]) -> list[dict[str, Any]]:
    """One row a pair: errors by (p, d) in units of sqrt(d/p), and what p and d change of them."""
    (few, many), (low, high) = WORKERS, DIMENSIONS
    rows = []
    for name in PAIRS:
        row: dict[str, Any] = {"A0, A1": name}
        for (p, d), found in medians.items():
            row[f"p = {p:,}, d = {d}"] = f"{found[name] / (d / p) ** 0.5:.2f}"
        row["ten times the workers"] = f"{medians[few, high][name] / medians[many, high][name]:.2f} times less"
        row["five times d"] = f"{medians[many, high][name] / medians[many, low][name]:.2f} times more"
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/hierarchy-rates"))
    parser.add_argument("--no-resume", dest="resume", action="store_false", help="make finished results again")
    a = parser.parse_args()
    medians = {}
    for p in WORKERS:
        for d in DIMENSIONS:
            cells = [{"p": p, "q": p // R, "d": d, "repetition": i, "seed": 0} for i in range(REPETITIONS)]
            found = [kept(errors, a.output / "cells", a.resume, **cell) for cell in cells]
            medians[p, d] = {name: statistics.median(one[name] for one in found) for name in PAIRS}
    print(f"{machine()}\n\n{markdown(table(medians))}")


if __name__ == "__main__":
    main()
