"""What workers cost that are slow on purpose, and send the right bits: with deadlines that are given, and "auto".

python -m benchmarks.slow [--steps STEPS]

Real ranks on this machine, p = 15 on five of them. Some workers answer at 0.95 of the deadline that is given, or claim
at once and deliver at 0.95 of the fetch deadline; the same seconds with "auto". Each setting runs once.
"""

import json
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from statistics import fmean

from benchmarks.measure import machine

DEADLINE, FETCH_DEADLINE = 2.0, 1.0  # seconds
COMMON = {
    "task": "digits", "model": "softmax", "p": 15, "q": 0, "r": 3, "batch_size": 16, "eval_every": 10**6,
    "checkpoint_every": 10**6, "log_every": 10**6, "secret_seed": 3, "aggregator": {"name": "median", "f": 0},
}  # fmt: skip
CLAIM_LATE, DELIVER_LATE = ("late", 0.95 * DEADLINE), ("tarry", 0.95 * FETCH_DEADLINE)
CASES: dict[str, tuple[dict[str, object], int, tuple[str, float]]] = {
    "digest, one delivers late": ({}, 1, DELIVER_LATE),
    "digest, three deliver late": ({}, 3, DELIVER_LATE),
    "digest, two claim late": ({}, 2, CLAIM_LATE),
    "digest, three claim late": ({}, 3, CLAIM_LATE),
    "full, one sends late": ({"vote": "full"}, 1, CLAIM_LATE),
    "r = 1, one sends late": ({"r": 1}, 1, CLAIM_LATE),
    "lazy, one claims half a second late": ({"copies": "lazy"}, 1, ("late", 0.45)),
    "lazy, three do": ({"copies": "lazy"}, 3, ("late", 0.45)),
}
"""Fields of the run, how many workers are slow, and their fault with its seconds."""


def run(fields: dict[str, object], steps: int, slow: int, fault: tuple[str, float], *, given: bool) -> list[float]:
    """Seconds of each step of one job, without the first two."""
    import tomli_w

    kind, seconds = fault
    faults = {"worker": [4 * worker for worker in range(slow)], "kind": [kind] * slow, "seconds": seconds}
    config = COMMON | fields | {"steps": steps} | ({"fault": faults} if slow else {})
    if given:
        config |= {"transport": {"deadline": DEADLINE, "fetch_deadline": FETCH_DEADLINE}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.toml"
        path.write_text(tomli_w.dumps(config | {"output": folder}))
        line = [sys.executable, "-m", "detox.launch", "launch", "-n", "6", str(path)]
        subprocess.run(line, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        (found,) = Path(folder).glob("*/metrics.jsonl")
        lines = [json.loads(text) for text in found.read_text().splitlines()]
        return [sum(line["seconds"].values()) for line in lines if "seconds" in line][2:]


def main() -> None:
    """Runs all cases, and prints a table."""
    parser = ArgumentParser("benchmarks.slow", description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    print(f"{machine()}\n\nmilliseconds per step of {options.steps} (mean; with auto also of the last half)\n")
    print("| case | nobody slow | deadlines given | auto | auto, last half | times slower: given | auto, last half |")
    print("|---|---|---|---|---|---|---|")
    honest: dict[str, float] = {}
    for name, (fields, slow, fault) in CASES.items():
        key = str(fields)
        if key not in honest:
            honest[key] = fmean(run(fields, options.steps, 0, fault, given=False))
        given = fmean(run(fields, options.steps // 2, slow, fault, given=True))
        auto = run(fields, options.steps, slow, fault, given=False)
        end = fmean(auto[len(auto) // 2 :])
        cells = [f"{1000 * seconds:.0f}" for seconds in (honest[key], given, fmean(auto), end)]
        cells += [f"{given / honest[key]:.0f}", f"{end / honest[key]:.1f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
