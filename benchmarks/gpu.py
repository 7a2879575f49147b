"""What a machine with a GPU is checked and measured for, a table each; benchmarks/gpu.sh runs them all.

python -m benchmarks.gpu {machine,bits,job,aggregators,transfer} [--device cuda]

The exit status is 1 where a check fails, and 3 where there is no such device. `--device cpu` tries the program itself.
"""

import json
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import RESNET18, gradients, interleaved, machine
from detox.aggregators import RULES
from detox.launch.environment import apply, fingerprint, fix_torch
from detox.tasks import MODELS, FlatModel, TaskError
from detox.tasks.classification import Classification, Images
from detox.tasks.devices import find_device, host_rows, to_host
from detox.wire import digest_of

ROOT = Path(__file__).parents[1]
NO_DEVICE = 3
APART = 1e-4  # of two results' length, for the same rule on CPU and GPU, which sum in other orders
VOTES, BAD = 15, 2
IMAGES = 96  # of a file


def compute(name: str, device: torch.device) -> np.ndarray:
    """(d + b,): a model's gradient of a file of images like CIFAR-10's, the same in each process."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (IMAGES, 3, 32, 32), np.uint8), rng.integers(0, 10, IMAGES)
    task = Classification(Images(pixels, labels, pixels, labels, 10, augment=True), MODELS[name], device)
    return FlatModel.build(task, 0).compute(task, np.arange(IMAGES), seed=1)


def print_digests(device: torch.device, models: list[str]) -> bool:
    """A line for each model, for `bits` in another process."""
    for name in models:
        print(name, digest_of(compute(name, device)).hex(), flush=True)
    return True


def bits(device: torch.device, models: list[str]) -> bool:
    """Whether two processes at a time compute equal gradients; and how far these are from the CPU's."""
    line = [sys.executable, "-m", "benchmarks.gpu", "digests", "--device", str(device), "--models", *models]
    processes = [subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        return False
    found = [dict(row.split() for row in output.splitlines()) for output in outputs]
    print("| model | bits of two processes | from the CPU's gradient |\n|---|---|---:|")
    well = True
    for name in models:
        equal = found[0][name] == found[1][name]
        well &= equal
        apart = distance(compute(name, device), compute(name, torch.device("cpu")))
        print(f"| {name} | {'equal' if equal else 'DIFFER'} | {apart:.1e} |", flush=True)
    return well


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Of two vectors, relative to the second's length."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1))


def job(device: torch.device, steps: int, options: list[str]) -> bool:
    """Whether a job under attack with PS and workers on the device gives equal weights twice; seconds of a step."""
    print("examples/characters.toml: a transformer, 6 workers on 2 ranks, one of them Byzantine at each step\n")
    summaries = [train(device.type, steps, options) for _ in range(2)] + [train("cpu", steps, options)]
    print("| device | weights | test loss | seconds per step | of these computing |\n|---|---|---:|---:|---:|")
    for name, found in zip((device.type, device.type, "cpu"), summaries, strict=True):
        seconds = found["seconds_per_step"]
        print(
            f"| {name} | {found['weights_digest'][:16]} | {found['test_loss']:.3f} | {seconds['total']:.4f} | "
            f"{seconds['wait']:.4f} |"
        )
    first, second, _ = summaries
    return bool(first["weights_digest"] == second["weights_digest"] and first["dissents"] == second["dissents"])


def train(device: str, steps: int, options: list[str]) -> dict[str, Any]:
    """The summary of a job with a PS and two ranks of workers."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "detox.launch", "launch", "-n", "3", "characters.toml"]
        line += ["--device", device, "--steps", str(steps), "--output", folder, "--secret-seed", "5", *options]
        done = subprocess.run(line, cwd=ROOT / "examples", capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"the job failed:\n{done.stdout}{done.stderr}")
        (path,) = Path(folder).glob("*/summary.json")
        summary: dict[str, Any] = json.loads(path.read_text())
        return summary


def aggregators(device: torch.device, d: int, rounds: int) -> bool:
    """Whether each rule gives on the device what it gives on the CPU, and the seconds of both."""
    x = gradients(VOTES, d)
    on_device = torch.from_numpy(x).to(device)
    print(f"n = {VOTES}, d = {d}, f = {BAD} or what the rule tolerates; CPU with one thread\n")
    print("| rule | CPU, s | device, s | apart |\n|---|---:|---:|---:|")
    well = True
    for name, rule in RULES.items():
        f = min(BAD, rule.tolerates(VOTES))

        def on_cpu(rule: Callable[..., np.ndarray] = rule, f: int = f) -> np.ndarray:
            return rule(x, f=f)

        def there(rule: Callable[..., torch.Tensor] = rule, f: int = f) -> torch.Tensor:
            found = rule(on_device, f=f)
            synchronize(device)
            return found

        result = there()
        apart = distance(to_host(result), on_cpu())
        stays = result.device == on_device.device
        well &= apart <= APART and stays
        seconds = interleaved({"cpu": on_cpu, "device": there}, rounds)
        wrong = "" if apart <= APART else " TOO FAR"
        where = "" if stays else f" LEFT FOR {result.device}"
        print(f"| {name} | {seconds['cpu']:.4f} | {seconds['device']:.4f} | {apart:.1e}{wrong}{where} |", flush=True)
    return well


def transfer(device: torch.device, d: int, rounds: int) -> bool:
    """Seconds of the votes on their way to the device, and of a gradient back, by page-locked memory and without."""
    locked, plain = host_rows(VOTES, d, device), np.empty((VOTES, d), np.float32)
    locked[:] = plain[:] = gradients(VOTES, d)
    there = torch.from_numpy(locked).to(device)

    def to_device(rows: np.ndarray) -> None:
        there.copy_(torch.from_numpy(rows))
        synchronize(device)

    seconds = interleaved(
        {
            "votes from page-locked rows": lambda: to_device(locked),
            "votes from other rows": lambda: to_device(plain),
            "a gradient back": lambda: to_host(there[0]),
            "a gradient back, not page-locked": lambda: there[0].cpu(),
        },
        rounds,
    )
    print("| | bytes | s | GB/s |\n|---|---:|---:|---:|")
    for name, value in seconds.items():
        size = locked.nbytes if name.startswith("votes") else 4 * d
        print(f"| {name} | {size} | {value:.5f} | {size / value / 1e9:.1f} |")
    return torch.equal(there.cpu(), torch.from_numpy(plain))


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe(device: torch.device) -> bool:
    """Prints the machine."""
    facts = ", ".join(f"{name} {value}" for name, value in fingerprint(device).items() if value != "")
    print(f"{machine()}\n{facts}\n{time.strftime('%Y-%m-%d')}")
    return True


def main() -> None:
    """Runs one of the checks."""
    parser = ArgumentParser("benchmarks.gpu", description=__doc__)
    parser.add_argument("what", choices=["machine", "bits", "digests", "job", "aggregators", "transfer"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", default=["lenet", "resnet18", "vgg13"], choices=list(MODELS))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--d", type=int, default=RESNET18)
    parser.add_argument("--rounds", type=int, default=3)
    options, rest = parser.parse_known_args()
    apply()
    fix_torch()
    try:
        device = find_device(options.device)
    except TaskError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        sys.exit(NO_DEVICE)
    begin = time.monotonic()
    well = {
        "machine": lambda: describe(device),
        "bits": lambda: bits(device, options.models),
        "digests": lambda: print_digests(device, options.models),
        "job": lambda: job(device, options.steps, rest),
        "aggregators": lambda: aggregators(device, options.d, options.rounds),
        "transfer": lambda: transfer(device, options.d, options.rounds),
    }[options.what]()
    if options.what != "digests":
        print(f"\n{options.what}: {'well' if well else 'WRONG'}, {time.monotonic() - begin:.0f} s")
    sys.exit(not well)


if __name__ == "__main__":
    main()
