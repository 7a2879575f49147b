"""Runs of a grid in one process, without messages: as quick as gradients, attack and aggregation are.

python -m experiments.simulation experiments/grids/NAME.toml ... [--no-resume]

A file is computed once, the adversary knows what it would with all workers on one rank, and a vote is what a strict
majority of a file's holders sends: the weights are those of a real run with one rank of workers, to the bit
(tests/experiments/test_simulation.py). A run's result is kept in runs/NAME, and all are a table, runs/NAME.csv.
"""

import json
from argparse import ArgumentParser, BooleanOptionalAction
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detox.config import Config, secret_seed
from detox.config.adversary import create_adversary
from detox.launch.sweep import configs
from detox.ps.aggregation import Aggregation
from detox.tasks import FlatModel, Task
from detox.wire import Header, Kind, Message
from experiments.cells import kept, write_csv

RANK = 1  # of all workers


class Alone:
    """The conversation of an only rank with its fellows."""

    def send(self, peers: Iterable[int], header: Header, payload: memoryview) -> None:
        """To nobody."""

    def receive(self) -> Iterator[Message]:
        """Nothing."""
        return iter(())


def simulate(config: Config, task: Task) -> dict[str, Any]:
    """Trains; returns accuracy by step, the share of bad votes, and the digest of the weights.

    Args:
        config: of the run: all workers are there, nobody is put out, and no momentum is at the workers.
        task: its task.
    """
    model = config.create_model(task)
    workers = FlatModel(task.build_model(), config.computing)
    codec = config.compression.create(model.d, model.b)
    files, secret = config.create_files(task), secret_seed(config)
    scheme = config.create_scheme(secret)
    aggregation = Aggregation(config.hierarchy, scheme, config.aggregator.f, secret)
    adversary = create_adversary(config, [RANK] * config.p, RANK, Alone(), model.d) if config.q else None
    poisoned = task if adversary is None else adversary.poison(task)
    accuracy, bad = {}, 0
    for step in range(1, config.steps + 1):
        workers.load(model.weights)
        drawn = [(indices, files.file_seed(step, file)) for file, indices in enumerate(files.draw(step))]
        honest = workers.compute_files(task, drawn)
        holders = scheme.draw(step, range(config.p)).holders
        sent = {}
        if adversary is not None:
            for worker, file in sorted((worker, file) for file, of_one in enumerate(holders) for worker in of_one):
                header = Header(Kind.WORK, step, worker, file)
                if not adversary.controls(worker, step):
                    adversary.overhear(header, honest[file])
                else:
                    own = honest[file] if poisoned is task else workers.compute(poisoned, *drawn[file])
                    adversary.take(worker, header, own)
            sent = dict(adversary.answers())
        votes = []
        for file, of_one in enumerate(holders):
            lies = [sent[worker] for worker in of_one if worker in sent]
            right = codec.quantise(honest[file])
            vote = _vote([codec.quantise(vector) for vector in lies], right, len(of_one))
            if vote is not None:
                votes.append(vote)
                bad += vote.tobytes() != right.tobytes()
        if aggregation.too_few(len(votes), config.q):
            continue
        of_all = np.stack(votes)
        update, buffers = aggregation.aggregate(step, of_all, config.q, model)
        aggregation.apply(of_all, config.q, update, buffers, model)
        if step % config.eval_every == 0 or step == config.steps:
            accuracy[step] = model.evaluate()["accuracy"]
    return {"accuracy": accuracy, "bad": bad / (config.steps * config.votes), "digest": model.digest}


def _vote(lies: list[np.ndarray], honest: np.ndarray, r: int) -> np.ndarray | None:
    """The vote of r holders, of whom some lie; None where there is no finite one."""
    sent = {vector.tobytes(): vector for vector in [*lies, honest]}
    counts = Counter(vector.tobytes() for vector in lies)
    counts[honest.tobytes()] += r - len(lies)
    ((winner, count),) = counts.most_common(1)
    return sent[winner] if 2 * count > r and np.isfinite(sent[winner]).all() else None


def row(config: Config, result: dict[str, Any]) -> dict[str, Any]:
    """Of the table."""
    steps = {int(step): value for step, value in result["accuracy"].items()}
    scale = "" if config.attack.scale is None else f", {config.attack.scale:g}"
    return {
        "method": config.name,
        "r": config.r,
        "q": config.q,
        "attack": f"{config.attack.kind}{scale}" if config.q else "none",
        "split": config.data.split if config.data.split == "iid" else f"{config.data.split} {config.data.alpha:g}",
        "lr": config.optimizer.lr,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "accuracy": steps[max(steps)] if steps else 0.1,
        "best": max(steps.values(), default=0.1),
        "bad": round(result["bad"], 4),
    }


def main() -> None:
    """Makes the runs, and the tables."""
    parser = ArgumentParser("python -m experiments.simulation", description=__doc__.splitlines()[0])
    parser.add_argument("grid", nargs="+", type=Path)
    parser.add_argument("--resume", action=BooleanOptionalAction, default=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks: dict[tuple[str, str | None], Task] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    runs = [(grid.stem, config) for grid in options.grid for config in configs(str(grid))]
    for name, config in sorted(runs, key=lambda run: run[1].seed):  # a table that is cut short has whole seeds
        key = config.task, config.model
        tasks[key] = tasks.get(key) or config.create_task()

        def compute(run: str, config: Config = config, task: Task = tasks[key]) -> dict[str, Any]:
            return simulate(config, task)

        result = kept(compute, Path("runs") / name, options.resume, run=config.identity)
        rows.setdefault(name, []).append(row(config, result))
        print(json.dumps(rows[name][-1]), flush=True)
        write_csv(rows[name], Path("runs") / f"{name}.csv")


if __name__ == "__main__":
    main()
