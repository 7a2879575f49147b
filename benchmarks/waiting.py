"""What waiting costs: CPU seconds per step of a job whose workers only sleep.

    python -m benchmarks.waiting [-n RANKS] [--steps STEPS] [--seconds SECONDS]

Two jobs of different length are run, so that the start, which costs far more, is left out.
"""

import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path

from benchmarks.measure import machine

TASK = """
import time
from detox.tasks.classification import Classification
from detox.tasks.datasets import load_digits
from detox.tasks.models import softmax


class Sleepy(Classification):
    def __init__(self, *, device):
        super().__init__(load_digits(None), softmax, device)

    def loss(self, model, indices, generator):
        time.sleep(SECONDS)
        return super().loss(model, indices, generator)
"""


def cpu_seconds(folder: Path, ranks: int, steps: int) -> float:
    """CPU seconds of a whole job, of all its processes."""
    fields = [
        "--name",
        f"of{steps}",
        "--task",
        "sleepy:Sleepy",
        "--p",
        str(ranks - 1),
        "--r",
        "1",
        "--steps",
        str(steps),
    ]
    fields += ["--aggregator.name", "mean", "--aggregator.f", "0", "--eval-every", "1000", "--progress", "none"]
    before = os.times()
    line = [sys.executable, "-m", "detox.launch", "launch", "-n", str(ranks), "run.toml", *fields]
    subprocess.run(line, cwd=folder, check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Prints CPU seconds per step, and as a share of one core."""
    parser = ArgumentParser("benchmarks.waiting", description=__doc__)
    parser.add_argument("-n", type=int, default=46, help="ranks, the PS included")
    parser.add_argument("--steps", type=int, default=10, help="by which the longer job is longer")
    parser.add_argument("--seconds", type=float, default=2.0, help="that a worker sleeps in each step")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.toml").write_text("")
        (folder / "sleepy.py").write_text(TASK.replace("SECONDS", repr(options.seconds)))
        short, long = (cpu_seconds(folder, options.n, steps) for steps in (2, 2 + options.steps))
    seconds = (long - short) / options.steps
    print(machine())
    print(f"{options.n} ranks, steps of {options.seconds:g} s: {seconds:.2f} CPU seconds per step, ", end="")
    print(f"{seconds / options.seconds:.0%} of a core")


if __name__ == "__main__":
    main()
