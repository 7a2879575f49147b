"""Each rule against one read of its input, against byzfl and against torch's obvious version.

python -m benchmarks.aggregators [--n 15 45] [--threads 1 2] [--isa avx2 avx512] [--peers] [--json]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

import torch

from benchmarks.measure import PROCESSORS, RESNET18, gradients, interleaved, keep_memory, machine, read_once
from benchmarks.peers import byzfl_rules, torch_rules
from detox.aggregators import PREAGGREGATORS, RULES, AggregatorError

FAULTS = {15: 2, 45: 5}
Rows: TypeAlias = list[dict[str, Any]]
Jobs: TypeAlias = dict[str, Callable[[], Any]]


class Elsewhere:
    """The jobs of `local`, in a process whose kernels are for another processor.

    Args:
        isa: which of `PROCESSORS`.
        rest: arguments of this program that say what to measure.
    """

    def __init__(self, isa: str, rest: list[str]) -> None:
        command = [sys.executable, "-m", "benchmarks.aggregators", "--serve", *rest]
        environment = {k: v for k, v in os.environ.items() if k not in PROCESSORS["avx2"]} | PROCESSORS[isa]
        self._process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.names: list[str] = json.loads(self._line())

    def run(self, name: str) -> None:
        """Runs one job, and comes back when it is done."""
        assert self._process.stdin is not None
        print(name, file=self._process.stdin, flush=True)
        self._line()

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process for another processor has ended: {self._process.wait()}")
        return line


def serve(jobs: Jobs) -> None:
    """The other side of `Elsewhere`: the name of a job comes in, an empty line goes out when it is done."""
    print(json.dumps(list(jobs)), flush=True)
    for line in sys.stdin:
        jobs[line.strip()]()
        print(flush=True)


def local(n: int, d: int, threads: int, names: Iterable[str]) -> Jobs:
    """One read of the input, and each of the rules that serves it."""
    x, f = gradients(n, d), FAULTS.get(n, n // 9)
    stages = RULES | PREAGGREGATORS
    jobs: Jobs = {"read": partial(read_once, x, threads)}
    for name in names:
        faults = min(f, stages[name].tolerates(n))
        job = partial(stages[name], x, f=faults, threads=threads)
        try:
            stages[name].check(n, faults)
            stages[name](x[:, :100], f=faults)
        except AggregatorError:
            continue
        jobs[name] = job
    return jobs


def table(n: int, threads: int, isas: list[str], a: argparse.Namespace) -> Rows:
    """One row a rule and processor: seconds, bytes of input a second, and ratios to the limit and to the peers."""
    if isas == ["native"]:
        everything = {("native", name): job for name, job in local(n, a.d, threads, a.rules).items()}
    else:
        rest = ["--n", str(n), "--d", str(a.d), "--threads", str(threads), "--rules", *a.rules]
        others = {isa: Elsewhere(isa, rest) for isa in isas}
        names = others[isas[0]].names
        everything = {(isa, name): partial(others[isa].run, name) for name in names for isa in isas}
    seconds = interleaved(everything, a.rounds)
    if isas != ["native"]:
        for other in others.values():
            other.close()
    size = 4 * n * a.d
    rows = [
        {
            "rule": name,
            "n": n,
            "d": a.d,
            "threads": threads,
            "isa": isa,
            "seconds": round(t, 4),
            "GB/s": round(size / t / 1e9, 1),
            "x limit": round(t / seconds[isa, "read"], 2),
        }
        for (isa, name), t in seconds.items()
    ]
    if a.peers:
        tensor, f = torch.from_numpy(gradients(n, a.d)), FAULTS.get(n, n // 9)
        torch.set_num_threads(threads)
        for column, rules in (("x byzfl", byzfl_rules(n, f)), ("x torch", torch_rules(n, f))):
            for row in rows:
                if row["rule"] in rules:
                    start = time.perf_counter()
                    rules[row["rule"]](tensor)
                    row[column] = round((time.perf_counter() - start) / row["seconds"], 1)
    return rows


def markdown(rows: Rows) -> str:
    """The table of the docs: a column for each n, processor and number of threads, milliseconds and ratio to a read."""
    columns = list(dict.fromkeys((row["n"], row["isa"], row["threads"]) for row in rows))
    cells = {(row["rule"], row["n"], row["isa"], row["threads"]): row for row in rows}
    peers = [c for c in ("x byzfl", "x torch") if any(c in row for row in rows)]
    heads = [f"n = {n}, {isa}, {threads} thread{'s' * (threads > 1)}" for n, isa, threads in columns]
    lines = [["rule", *heads, *peers], ["---"] * (1 + len(columns) + len(peers))]
    for rule in dict.fromkeys(row["rule"] for row in rows):
        found = [cells.get((rule, *column)) for column in columns]
        times = [f"{1e3 * row['seconds']:.0f} ms, {row['x limit']:.1f}" if row else "" for row in found]
        lines.append([rule, *times, *(str(found[0].get(c, "")) if found[0] else "" for c in peers)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[15, 45], help="numbers of vectors")
    parser.add_argument("--d", type=int, default=RESNET18, help="dimension")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="sizes of the thread pool")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, interleaved")
    parser.add_argument("--rules", nargs="+", default=[*RULES, *PREAGGREGATORS], help="which")
    parser.add_argument("--peers", action="store_true", help="also byzfl and torch, once each (slow)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--isa", nargs="+", choices=PROCESSORS, default=["native"], help="processors to compile for")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    keep_memory()
    if a.serve:
        serve(local(a.n[0], a.d, a.threads[0], a.rules))
        return
    rows = [row for n in a.n for t in a.threads for row in table(n, t, a.isa, a)]
    print(json.dumps({"machine": machine(), "rows": rows}, indent=1) if a.json else f"{machine()}\n\n{markdown(rows)}")


if __name__ == "__main__":
    main()
