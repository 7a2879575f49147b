"""Each rule against one read of its input, against byzfl and against torch's obvious version.

python -m benchmarks.aggregators [--n 15 45] [--threads 1 2] [--peers] [--json]
python -m benchmarks.aggregators --chart docs/figures/cost.png
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from blake3 import blake3

from benchmarks.measure import RESNET18, gradients, interleaved, keep_memory, machine, read_once
from benchmarks.peers import byzfl_rules, torch_rules
from detox.aggregators import PAIRS, PREAGGREGATORS, RULES, AggregatorError, Hierarchy, create_hierarchy

FAULTS = {15: 2, 45: 5}
Rows: TypeAlias = list[dict[str, Any]]


def table(n: int, d: int, threads: int, names: Iterable[str], rounds: int, peers: bool) -> list[dict[str, Any]]:
    """One row a rule: seconds, bytes of input a second, and ratios to the limit and to the peers."""
    x, f = gradients(n, d), FAULTS.get(n, n // 9)
    stages = RULES | PREAGGREGATORS
    jobs: dict[str, Callable[[], Any]] = {"read": partial(read_once, x, threads)}
    for name in names:
        faults = min(f, stages[name].tolerates(n))
        job = partial(stages[name], x, f=faults, threads=threads)
        try:
            stages[name].check(n, faults)
            stages[name](x[:, :100], f=faults)
        except AggregatorError:
            continue
        jobs[name] = job
    seconds = interleaved(jobs, rounds)
    rows = [
        {
            "rule": name,
            "n": n,
            "d": d,
            "threads": threads,
            "seconds": round(t, 4),
            "GB/s": round(x.nbytes / t / 1e9, 1),
            "x limit": round(t / seconds["read"], 2),
        }
        for name, t in seconds.items()
    ]
    if peers:
        tensor = torch.from_numpy(x)
        torch.set_num_threads(threads)
        for column, rules in (("x byzfl", byzfl_rules(n, f)), ("x torch", torch_rules(n, f))):
            for row in rows:
                if row["rule"] in rules:
                    start = time.perf_counter()
                    rules[row["rule"]](tensor)
                    row[column] = round((time.perf_counter() - start) / row["seconds"], 1)
    return rows


COLUMNS = ("rule", "n", "d", "threads", "seconds", "GB/s", "x limit", "x byzfl", "x torch")


def markdown(rows: Rows) -> str:
    """The table, ready for the docs."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(str(row.get(c, "")) for c in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


def costs(rounds: int) -> dict[str, Any]:
    """Seconds against the number of workers p (d = 200,000), and against d (p = 45); r = 3 for the pairs."""
    over: dict[str, Any] = {"workers": {}, "parameters": {}}
    for axis, points in (
        ("workers", [(p, 200_000) for p in (5, 9, 15, 27, 45, 75, 135, 225)]),
        ("parameters", [(45, d) for d in (10_000, 100_000, 1_000_000, RESNET18)]),
    ):
        for p, d in points:
            x = gradients(p, d)
            jobs = {}
            for name in ("median", "krum", "bulyan", *PAIRS):
                hierarchy, votes = create_hierarchy(name), x[: p // 3] if name in PAIRS else x
                f = max((f for f in range(3) if served(hierarchy, len(votes), f)), default=-1)
                if f >= 0:
                    jobs[name] = partial(step, hierarchy, votes, f, name in PAIRS)
            for name, t in interleaved(jobs, rounds).items():
                over[axis].setdefault(name, []).append((p if axis == "workers" else d, t))
    return over


def step(hierarchy: Hierarchy, votes: np.ndarray, f: int, vote: bool) -> None:
    """Aggregate; with a vote, hash what was fetched first."""
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


def chart(over: dict[str, Any], path: Path) -> None:
    """Two panels on log axes."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5))
    colours = {name: f"C{i}" for i, name in enumerate(("median", "krum", "bulyan", *PAIRS))}
    panels = (("workers p", "workers", "d = 200,000"), ("parameters d", "parameters", "p = 45"))
    for axis, (label, key, note) in zip(axes, panels, strict=True):
        for name, points in over[key].items():
            style = "o-" if name in PAIRS else "s--"
            axis.loglog(*zip(*points, strict=True), style, color=colours[name], markersize=4, label=name)
        axis.set(xlabel=label, ylabel="seconds", title=f"vote (r = 3) and aggregation, {note}")
        axis.grid(which="both", alpha=0.2)
        axis.legend(fontsize=8)
    ps = np.array([45.0, 225.0])
    start = dict(over["workers"]["krum"])[45]
    for power, note in ((1, "p"), (2, "p²")):
        axes[0].loglog(ps, 1.6 * start * (ps / 45) ** power, color="grey", linewidth=1)
        axes[0].annotate(note, (225, 1.6 * start * 5**power), color="grey")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[15, 45], help="numbers of vectors")
    parser.add_argument("--d", type=int, default=RESNET18, help="dimension")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="sizes of the thread pool")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, interleaved")
    parser.add_argument("--rules", nargs="+", default=[*RULES, *PREAGGREGATORS], help="which")
    parser.add_argument("--peers", action="store_true", help="also byzfl and torch, once each (slow)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--chart", type=Path, help="draw cost against workers and parameters, nothing else")
    a = parser.parse_args()
    keep_memory()
    if a.chart:
        over = costs(a.rounds)
        chart(over, a.chart)
        rows = [{"axis": k, "rule": r, "points": p} for k, v in over.items() for r, p in v.items()]
        print(json.dumps({"machine": machine(), "rows": rows}, indent=1))
        return
    rows = [row for n in a.n for t in a.threads for row in table(n, a.d, t, a.rules, a.rounds, a.peers)]
    print(json.dumps({"machine": machine(), "rows": rows}, indent=1) if a.json else f"{machine()}\n\n{markdown(rows)}")


if __name__ == "__main__":
    main()
