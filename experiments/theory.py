"""Bad votes q_e over p, q, r (Rajput et al. 2019): simulated, against the exact distribution and the paper's bounds.

Two simulations: `system` runs the code that a server and its workers run, with groups redrawn and Byzantine workers
placed at random in each step; `draws` takes the Byzantine workers of each group from the law that this should be, and
so can be many times more.

python -m experiments.theory quick|full [--no-resume]
"""

import argparse
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from benchmarks.measure import machine
from detox.assignment.schemes import RandomGroups, RedrawnGroups, worst_case
from detox.assignment.seeds import stream
from detox.assignment.theory import bad_votes, enough_redundancy, expected_bad_votes, tail_bound
from detox.reports.figures import save
from detox.worker.placement import Placement
from experiments.cells import kept, markdown, write_csv
from experiments.theory_figure import DRAWN, draw, tail

WORKERS = (45, 225, 1125)
RATIOS = (15, 9, 5, 3)  # p/q
GROUP_SIZES = (3, 5, 9, 15, 25)  # r
SIZES = {"quick": (10_000, 100), "full": (200_000, 2_000)}  # draws, steps of the system
AT_ONCE = 2_000_000  # groups drawn at a time


def simulate(p: int, q: int, r: int, draws: int, steps: int, seed: int) -> dict[str, Any]:
    """P(q_e = k), how often q_e was k in each simulation, and q_e under the worst placement in known groups."""
    return {
        "exact": [float(share) for share in bad_votes(p, q, r)],
        "system": np.bincount([system_bad_votes(p, q, r, seed, step) for step in range(steps)]).tolist(),
        "draws": np.bincount(drawn_bad_votes(p, q, r, draws, stream(seed, "theory", p, q, r))).tolist(),
        "worst": worst_bad_votes(p, q, r, seed),
    }


def system_bad_votes(p: int, q: int, r: int, seed: int, step: int) -> int:
    """q_e of one step of the system."""
    byzantine = Placement("random", p, q, seed).byzantine(step)
    return count_bad(RedrawnGroups(r, seed).draw(step, range(p)).holders, byzantine)


def worst_bad_votes(p: int, q: int, r: int, seed: int) -> int:
    """q_e where the adversary knows the groups."""
    groups = RandomGroups(r, seed).draw(0, range(p)).holders
    return count_bad(groups, Placement("worst", p, q, seed, groups).byzantine(0))


def count_bad(groups: tuple[tuple[int, ...], ...], byzantine: frozenset[int]) -> int:
    """Groups with a strict majority of Byzantine workers."""
    return sum(2 * len(byzantine.intersection(group)) > len(group) for group in groups)


def drawn_bad_votes(p: int, q: int, r: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws,) q_e: the numbers of Byzantine workers in the groups are multivariate hypergeometric."""
    count = p // r
    found = []
    for start in range(0, draws, AT_ONCE // count):
        now = min(AT_ONCE // count, draws - start)
        byzantine = rng.multivariate_hypergeometric([r] * count, q, size=now, method="marginals")
        found.append((2 * byzantine > r).sum(axis=1))
    return np.concatenate(found)


def cells(draws: int, steps: int) -> Iterator[dict[str, int]]:
    """The parameters of every cell: a config, too, asks for an r that divides p."""
    for p, ratio, r in itertools.product(WORKERS, RATIOS, GROUP_SIZES):
        if p % r == 0:
            yield {"p": p, "q": p // ratio, "r": r, "draws": draws, "steps": steps, "seed": 0}


def compare(cell: dict[str, Any]) -> dict[str, Any]:
    """One row of the CSV, and under `p-values` a two-sided binomial test of each tail that the draws can see."""
    p, q, r = cell["p"], cell["q"], cell["r"]
    exact = tail(cell["exact"])
    row: dict[str, Any] = {"p": p, "q": q, "r": r, "exact E": float(expected_bad_votes(p, q, r))}
    p_values = []
    for name in ("system", "draws"):
        counts = np.array(cell[name])
        n = int(counts.sum())
        values = np.arange(len(counts))
        mean = float(counts @ values) / n
        row[f"{name} E"] = mean
        row[f"{name} error"] = math.sqrt(max(float(counts @ (values - mean) ** 2), 1) / n / (n - 1))
        seen = tail(counts)
        for k in range(1, max(len(exact), len(seen))):
            chance = min(1.0, exact[k]) if k < len(exact) else 0.0
            hits = int(seen[k]) if k < len(seen) else 0
            if hits or 1 <= n * chance <= n - 1:
                p_values.append(binomtest(hits, n, chance).pvalue)
    row["least k with P(q_e >= k) < 1 %"] = int(np.argmax(np.append(exact, 0) < 0.01))
    row["worst"] = cell["worst"]
    row["floor(2q/(r+1))"] = worst_case(q, r, p // r)
    row["r >= 3 + 2 log2 q"] = "yes" if enough_redundancy(q, r) else ""
    # P(q_e > x) <= tail_bound(x) for every x below k, and so P(q_e >= k) <= tail_bound(k); trivially for k < 2.
    row["tail bound"] = "holds" if all(exact[k] <= tail_bound(k) for k in range(2, len(exact))) else "broken"
    return row | {"p-values": p_values}


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """E[q_e], exact / by draws / by the system, one row a p and q, one column an r; * where the bound is claimed."""
    blank = {f"r = {r}": "" for r in sorted({row["r"] for row in rows})}
    lines: dict[tuple[int, int], dict[str, Any]] = {}
    for row in rows:
        means = " / ".join(f"{row[key]:.4g}" for key in ("exact E", "draws E", "system E"))
        line = lines.setdefault((row["p"], row["q"]), {"p": row["p"], "q": row["q"]} | blank)
        line[f"r = {row['r']}"] = means + (" *" if row["r >= 3 + 2 log2 q"] else "")
    return list(lines.values())


def summary(rows: list[dict[str, Any]]) -> str:
    """What the comparison says as a whole."""
    p_values = [value for row in rows for value in row["p-values"]]
    conditioned = [row for row in rows if row["r >= 3 + 2 log2 q"]]
    above = [f"(p, q, r) = ({row['p']}, {row['q']}, {row['r']})" for row in conditioned if row["exact E"] > 1]
    broken = [row for row in conditioned if row["tail bound"] == "broken"]
    wrong = [row for row in rows if row["worst"] != row["floor(2q/(r+1))"]]
    return (
        f"{len(p_values)} tails tested: {np.mean(np.array(p_values) < 0.05):.1%} below 5 %, least p-value "
        f"{min(p_values):.2g} (times the tests: {min(p_values) * len(p_values):.2g}). "
        f"Of {len(conditioned)} cells with r >= 3 + 2 log2 q, E[q_e] > 1 in {len(above)}"
        f"{': ' if above else ''}{'; '.join(above)}; tail bound broken in {len(broken)}. "
        f"Worst placement off the formula in {len(wrong)} of {len(rows)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--output", type=Path, default=Path("runs/theory"))
    parser.add_argument("--no-resume", dest="resume", action="store_false", help="make finished results again")
    a = parser.parse_args()
    results = [cell | kept(simulate, a.output / "cells", a.resume, **cell) for cell in cells(*SIZES[a.size])]
    rows = [compare(cell) for cell in results]
    columns = [key for key in rows[0] if key != "p-values"]
    write_csv([{key: row[key] for key in columns} for row in rows], a.output / f"{a.size}.csv")
    text = f"{machine()}\n\n{markdown(table(rows))}\n{summary(rows)}\n"
    (a.output / f"{a.size}.md").write_text(text, encoding="utf-8")
    write_csv([{key: cell[key] for key in DRAWN} for cell in results], a.output / f"{a.size}-figure.csv")
    save(draw(results), a.output / f"{a.size}.png")
    print(text)


if __name__ == "__main__":
    main()
