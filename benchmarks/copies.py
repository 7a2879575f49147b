"""What integrity costs: seconds per step and copies of a file with all copies, lazy ones, auditors, and none.

python -m benchmarks.copies [--rounds ROUNDS] [--steps STEPS] [--batch-size SAMPLES] [--workers P] [--ranks RANKS]

Real jobs on this machine without an attacker, interleaved: each round runs each setting once. A step is as many samples
in all settings, so that seconds per step compare; with r = 1 nobody checks anything.
"""

import json
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from statistics import median

from benchmarks.measure import machine

COMMON = {
    "task": "fashion-mnist", "model": "lenet", "q": 0, "eval_every": 10**6, "checkpoint_every": 10**6,
    "log_every": 10**6, "aggregator": {"name": "median"},
}  # fmt: skip
SETTINGS: dict[str, dict[str, object]] = {
    "r = 3, all copies": {"r": 3},
    "r = 3, lazy copies": {"r": 3, "copies": "lazy"},
    "r = 3, lazy, one file audited by the PS": {"r": 3, "copies": "lazy", "audit": {"ps": 1}},
    "r = 3, lazy, audited in spare time": {"r": 3, "copies": "lazy", "audit": {"ps": "auto"}},
    "r = 1": {"r": 1},
    "r = 1, one auditor": {"r": 1, "audit": {"workers": 1}},
}


def run(fields: dict[str, object], steps: int, ranks: int) -> tuple[float, float]:
    """Median seconds per step of one job, the first two left out, and copies per file."""
    import tomli_w

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "run.toml"
        config.write_text(tomli_w.dumps(COMMON | fields | {"steps": steps, "output": folder}))
        line = [sys.executable, "-m", "detox.launch", "launch", "-n", str(ranks), str(config)]
        subprocess.run(line, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        (found,) = Path(folder).glob("*/summary.json")
        metrics = [json.loads(text) for text in (found.parent / "metrics.jsonl").read_text().splitlines()]
        seconds = [sum(line["seconds"].values()) for line in metrics if "seconds" in line][2:]
        return median(seconds), json.loads(found.read_text())["copies_per_file"]


def main() -> None:
    """Runs all settings in turn, and prints a table."""
    parser = ArgumentParser("benchmarks.copies", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=32, help="samples per worker")
    parser.add_argument("--workers", type=int, default=45)
    parser.add_argument("--ranks", type=int, default=3, help="the PS included; with 2 it has a core of its own on two")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="SETTING")
    options = parser.parse_args()
    settings = {name: SETTINGS[name] for name in options.settings}
    seconds: dict[str, list[float]] = {name: [] for name in settings}
    copies = dict.fromkeys(settings, 0.0)
    for _ in range(options.rounds):
        for name, fields in settings.items():
            found, copies[name] = run(
                fields | {"batch_size": options.batch_size, "p": options.workers}, options.steps, options.ranks
            )
            seconds[name].append(found)
    print(f"{machine()}\n")
    size, jobs = options.batch_size, f"{options.rounds} jobs of {options.steps} steps"
    print(f"p = {options.workers} on {options.ranks - 1} ranks, LeNet, {size} samples per worker, {jobs} each\n")
    found = {name: median(of_one) for name, of_one in seconds.items()}
    against = [name for name in ("r = 3, all copies", "r = 1") if name in found]
    print(f"| setting | copies per file | seconds per step | {' | '.join(f'of {name}' for name in against)} |")
    print("|---|---|---|" + "---|" * len(against))
    for name, own in found.items():
        ratios = " | ".join(f"{own / found[other]:.2f}" for other in against)
        print(f"| {name} | {copies[name]:.2f} | {own:.3f} | {ratios} |")


if __name__ == "__main__":
    main()
