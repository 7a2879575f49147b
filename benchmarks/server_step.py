"""The PS's side of one step at the paper's scale: 45 gradients of ResNet-18, r = 3, by two threads.

DETOX: hash the 15 fetched gradients, compare with the claims, aggregate hierarchically. Vanilla: one rule
over all 45. Each method runs in a process of its own, so that its peak memory is its own.
The result's first bytes of BLAKE3 are the same on any processor.

python -m benchmarks.server_step [--threads 2] [--baseline] [--json]
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from blake3 import blake3

from benchmarks.measure import RESNET18, gradients, interleaved, keep_memory, machine
from benchmarks.peers import numpy_rules
from detox.aggregators import PAIRS, create_hierarchy

WORKERS, R, Q = 45, 3, 5
COLUMNS = ("method", "seconds", "peak GB", "input GB", "result")
METHODS = (
    "vote",
    "d-median",
    "d-multi-krum",
    "d-bulyan",
    "mean",
    "median",
    "multi_krum",
    "bulyan",
    "geometric_median",
)


def vote(claims: list[list[bytes]], fetched: np.ndarray, pool: ThreadPoolExecutor) -> int:
    """How many groups' gradients are what a strict majority claimed."""
    digests = pool.map(lambda row: blake3(row.view(np.uint8)).digest(), fetched)
    winners = (Counter(group).most_common(1)[0] for group in claims)
    return sum(d == claim and 2 * count > R for d, (claim, count) in zip(digests, winners, strict=True))


def measure(method: str, threads: int, rounds: int) -> dict[str, Any]:
    """Seconds of one method, and its peak memory, input included, above that of the loaded program."""
    detox = method == "vote" or method in PAIRS
    n = WORKERS // R if detox else WORKERS
    hierarchy = None if method == "vote" else create_hierarchy(method, threads=threads)
    f = Q // ((R + 1) // 2) if detox else 0 if method == "mean" else Q
    if hierarchy is not None:  # compiles
        hierarchy(gradients(n, 1 << 17), f=f, rng=np.random.default_rng(0))
    interpreter = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    x = gradients(n, RESNET18)
    claims = [[blake3(row.view(np.uint8)).digest()] * R for row in x] if detox else []
    pool = ThreadPoolExecutor(threads)

    results: list[Any] = [x[:0]]

    def step() -> None:
        if detox and vote(claims, x, pool) != len(x):
            raise RuntimeError("a gradient is not what was claimed")
        if hierarchy is not None:
            results[0] = hierarchy(x, f=f, rng=np.random.default_rng(0))

    seconds = interleaved({method: step}, rounds)[method]
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - interpreter) * 1024
    return {
        "method": method,
        "seconds": round(seconds, 3),
        "peak GB": round(peak / 1e9, 2),
        "input GB": round(x.nbytes / 1e9, 2),
        "result": blake3(results[0].tobytes()).hexdigest()[:8] if hierarchy is not None else "",
    }


def baseline(method: str) -> dict[str, Any]:
    """A vanilla rule in plain numpy (`numpy_rules`), once, by one thread."""
    x = gradients(WORKERS, RESNET18)
    rule: Callable[[Any], Any] = numpy_rules(WORKERS, Q)[method]
    start = time.perf_counter()
    rule(x)
    return {"method": f"{method}, numpy", "seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--baseline", action="store_true", help="also vanilla rules in plain numpy (a minute)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    a = parser.parse_args()
    keep_memory()
    if a.one:
        name, _, numpy = a.one.partition(",")
        print(json.dumps(baseline(name) if numpy else measure(name, a.threads, a.rounds)))
        return
    rows = []
    for method in [
        *a.methods,
        *([f"{m},numpy" for m in ("median", "multi_krum", "bulyan")] if a.baseline else []),
    ]:
        command = [sys.executable, "-m", "benchmarks.server_step", "--one", method]
        command += ["--threads", str(a.threads), "--rounds", str(a.rounds)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    if a.json:
        print(json.dumps({"machine": machine(), "threads": a.threads, "rows": rows}, indent=1))
        return
    print(f"{machine()}; {a.threads} threads\n")
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for row in rows:
        print("| " + " | ".join(str(row.get(column, "")) for column in COLUMNS) + " |")


if __name__ == "__main__":
    main()
