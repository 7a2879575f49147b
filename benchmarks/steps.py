"""What a step takes over TCP with TLS, and over MPI: the same jobs, in turn.

python -m benchmarks.steps [--ranks N] [--rounds N] [--steps N] [--relay]

Real ranks on this machine, under mpirun: a worker each, groups of three, LeNet on Fashion-MNIST, nobody Byzantine. Over
both channels the weights are compared, and have to be the same.
"""

import json
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from statistics import median

from benchmarks.measure import machine

CHANNELS = ("mpi", "tcp")
COMMON = {
    "task": "fashion-mnist", "model": "lenet", "q": 0, "r": 3, "batch_size": 32, "eval_every": 10**6,
    "checkpoint_every": 10**6, "log_every": 10**6, "secret_seed": 3, "aggregator": {"name": "mean"},
}  # fmt: skip
FIRST = 2  # steps, in which ranks compile and make connections


def run(channel: str, ranks: int, steps: int, relay: str) -> tuple[float, str]:
    """A job: the median seconds of a step but for the first ones, and the digest of its weights."""
    import tomli_w

    transport = {"channel": channel, "relay": relay}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.toml"
        path.write_text(tomli_w.dumps(COMMON | {"p": ranks, "steps": steps, "transport": transport, "output": folder}))
        line = [sys.executable, "-m", "detox.launch", "launch", "-n", str(ranks + 1), str(path)]
        subprocess.run(line, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        (found,) = Path(folder).glob("*/metrics.jsonl")
        lines = [json.loads(text) for text in found.read_text().splitlines()]
        seconds = [sum(line["seconds"].values()) for line in lines if "seconds" in line]
        return median(seconds[FIRST:]), json.loads((found.parent / "summary.json").read_text())["weights_digest"]


def main() -> None:
    """Runs the jobs, and prints a table."""
    parser = ArgumentParser("benchmarks.steps", description=__doc__)
    parser.add_argument("--ranks", type=int, default=3, help="of workers, a multiple of three")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--relay", action="store_true", help="ranks pass weights on to each other")
    options = parser.parse_args()
    rounds = [
        {channel: run(channel, options.ranks, options.steps, "relay" if options.relay else "star") for channel in order}
        for order in (CHANNELS[:: (-1) ** number] for number in range(options.rounds))
    ]
    assert len({digest for found in rounds for _, digest in found.values()}) == 1, "the weights differ"
    over_mpi, over_tcp = ([found[channel][0] for found in rounds] for channel in CHANNELS)
    ratios = [tcp / mpi for mpi, tcp in zip(over_mpi, over_tcp, strict=True)]
    print(f"{machine()}\n\n| ranks | MPI, ms | TCP, ms | TCP / MPI: median | least | most |\n|---|---|---|---|---|---|")
    cells = [1000 * median(over_mpi), 1000 * median(over_tcp)]
    told = [*(f"{cell:.1f}" for cell in cells), *(f"{r:.2f}" for r in (median(ratios), min(ratios), max(ratios)))]
    print(f"| {options.ranks} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
