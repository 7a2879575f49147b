"""Aspis' attack in real runs, whole jobs in this process, beside the same steps simulated by benchmarks.aspis.

python -m benchmarks.aspis_jobs [--steps 30]

15 workers on digits, three of them Byzantine: the same in each step, with the same assignments in both.
"""

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.aspis import run
from benchmarks.measure import machine
from detox.assignment.designs import Steiner
from detox.assignment.schemes import RedrawnGroups
from detox.worker.placement import Placement
from tests.one_process import Finished, Jobs

P, Q, R = 15, 3, 3
SEED, SECRET = 1, 4
BASE = ("--attack.kind", "sign_flip", "--attack.placement", "fixed", "--attack.knowledge", "omniscient")
GROUPS = {"ours": ("--groups", "redrawn"), "ours, `steiner`": ("--groups", "steiner", "--groups-redrawn")}
WHEN = {"always": "always", "where they win": "majority", "the 2q, always the same": "framing"}


def damage(job: Finished, scheme: RedrawnGroups | Steiner, byzantine: frozenset[int], steps: int) -> float:
    """The sum over steps of the share of bad votes: files whose honest holder is outvoted, or that have none."""
    lines = [json.loads(line) for line in (job.run / "ledger.jsonl").read_text().splitlines()]
    out = {line["worker"]: line["step"] for line in lines if line["kind"] == "quarantined"}
    kinds = [line for line in lines if line["kind"] == "dissented" and line["worker"] not in byzantine]
    outvoted = {(line["step"], line["file"]) for line in kinds}
    total = 0.0
    for step in range(1, steps + 1):
        holders = scheme.draw(step, [worker for worker in range(P) if step < out.get(worker, steps + 1)]).holders
        bad = sum((step, file) in outvoted or byzantine.issuperset(of_one) for file, of_one in enumerate(holders))
        total += bad / len(holders)
    return total


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser("benchmarks.aspis_jobs", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    steps = parser.parse_args().steps
    placement = Placement("fixed", P, Q, SEED)
    print(machine(), end="\n\n")
    print("| they lie | defence | simulated: named after | bad votes in all, in steps | run: out from | bad votes |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        jobs = Jobs(Path(folder))
        for attack, when in WHEN.items():
            for defence, groups in GROUPS.items():
                found = run(P, Q, R, defence, attack, SECRET, steps, placement)
                seeds = ("--attack.seed", str(SEED), "--secret-seed", str(SECRET), "--attack.when", when)
                sizes = ("--p", str(P), "--q", str(Q), "--steps", str(steps), "--eval-every", str(steps))
                job = jobs.start(*BASE, *groups, *seeds, *sizes, n=2)
                if job.status:
                    raise RuntimeError(job.text)
                scheme = RedrawnGroups(R, SECRET) if defence == "ours" else Steiner(P, R, SECRET)
                ledger = map(json.loads, (job.run / "ledger.jsonl").read_text().splitlines())
                out = {line["step"] for line in ledger if line["kind"] == "quarantined"}
                did = damage(job, scheme, placement.byzantine(1), steps)
                cells = f"{found.named or 'never'} | {found.damage:.3f} | {max(out, default='never')} | {did:.3f}"
                print(f"| {attack} | {defence} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
