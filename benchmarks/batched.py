"""Gradients of all files of a step: file by file, and several in one call.

OMP_NUM_THREADS=1 python -m benchmarks.batched [--steps 40]

Fashion-MNIST, MLP 784-128-10, p = 45, b = 8: 45 files of 8 samples (r = 1), and 15 of 24 (r = 3). The two ways take
turns, each on the same files; CPU seconds of this process.
"""

import argparse
import time
from statistics import median

import torch

from benchmarks.measure import machine
from detox.tasks import FlatModel
from detox.tasks.computing import Computing
from detox.tasks.create import create_task
from detox.tasks.samples import Files

P, SAMPLES = 45, 8


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser("benchmarks.batched", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = create_task("fashion-mnist", model=options.model)
    models = [FlatModel.build(task, 0, Computing(batched=batched)) for batched in (False, True)]
    print(machine(), end="\n\n")
    print("| files | samples | each, ms of CPU | batched | gain |\n|---|---|---|---|---|")
    for r in (3, 1):
        files = Files(P // r, r * SAMPLES, task.train_size, 0)
        took: list[list[float]] = [[], []]
        for step in range(1, options.steps + 1):
            drawn = [(indices, files.file_seed(step, file)) for file, indices in enumerate(files.draw(step))]
            for model, times in zip(models, took, strict=True):
                began = time.process_time()
                model.compute_files(task, drawn)
                times.append(time.process_time() - began)
        each, batched = (1e3 * median(times[2:]) for times in took)
        print(f"| {P // r} | {r * SAMPLES} | {each:.1f} | {batched:.1f} | {each / batched:.2f} |", flush=True)


if __name__ == "__main__":
    main()
