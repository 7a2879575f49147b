"""Runs of a grid in one process, without messages: as quick as gradients, attack and aggregation are.

python -m experiments.simulation experiments/grids/NAME.toml|NAME.json ... [--no-resume]

A file is computed once, the adversary knows what it would with all workers on one rank, and a vote is what a strict
majority of a file's holders sends: the weights are those of a real run with one rank of workers, to the bit
(tests/experiments/test_simulation.py). What needs messages, or changes who takes part, is refused; unlike a real
run, one that makes no updates goes on. A run's result is kept in runs/NAME, and all are a table, runs/NAME.csv.
"""

import json
import sys
from argparse import ArgumentParser, BooleanOptionalAction
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before numpy and torch are imported
    from detox.launch.environment import apply

    apply()

import numpy as np

from detox.config import Config, ConfigError, secret_seed
from detox.config.adversary import create_adversary
from detox.errors import DetoxError
from detox.launch.environment import fix_torch
from detox.launch.from_byzfl import byzfl_configs
from detox.launch.sweep import configs
from detox.ps.aggregation import Aggregation
from detox.tasks import FlatModel, Task
from detox.wire import Header, Kind, Message
from detox.worker.momentum import Momentum
from experiments.cells import kept, write_csv

RANK = 1  # of all workers


class Alone:
    """The conversation of an only rank with its fellows."""

    def send(self, peers: Iterable[int], header: Header, payload: memoryview) -> None:
        """To nobody."""

    def receive(self) -> Iterator[Message]:
        """Nothing."""
        return iter(())


def check(config: Config) -> None:
    """Refuses what is not simulated.

    Raises:
        ConfigError: the config has such a field.
    """
    needs = {
        "vote": config.vote == "tolerance",
        "copies": config.copies == "lazy",
        "audit": config.audit.most > 0,
        "fault": bool(config.fault.worker),
        "on_tie": config.on_tie != "drop",
        "quarantine.policy": config.quarantine_policy != "never",
        "patience": config.patience > 0,
        "optimizer.schedule": config.optimizer.schedule == "ReduceLROnPlateau",
        "worker_momentum": config.worker_momentum > 0 and config.groups not in ("fixed", "random"),
    }
    for field, needed in needs.items():
        if needed:
            raise ConfigError(f"{config.name}: {field} is not simulated as it is set; make real runs, or change it")


def simulate(config: Config, task: Task) -> dict[str, Any]:
    """Trains; returns accuracy by step, the share of bad votes, and the digest of the weights.

    Args:
        config: of the run.
        task: its task, which has the score "accuracy".

    Raises:
        ConfigError: the config has a field that cannot be simulated, or the task no accuracy.
    """
    check(config)
    model = config.create_model(task)
    workers = FlatModel.build(task, config.seed, config.computing)
    codec = config.compression.create(model.d, model.b)
    files, secret = config.create_files(task), secret_seed(config)
    scheme = config.create_scheme(secret)
    aggregation = Aggregation(config.hierarchy, scheme, config.aggregator.f, secret)
    adversary = create_adversary(config, [RANK] * config.p, RANK, Alone(), model.d, model.b) if config.q else None
    poisoned = task if adversary is None else adversary.poison(task)
    beta = config.worker_momentum
    momentum = {of: Momentum(beta, model.d) for of in (False, True)} if beta else None  # of poisoned data, or not
    accuracy, bad = {}, 0
    for step in range(1, config.steps + 1):
        workers.load(model.weights)
        drawn = [(indices, files.file_seed(step, file)) for file, indices in enumerate(files.draw(step))]
        honest = workers.compute_files(task, drawn)
        if momentum is not None:
            honest = [momentum[False].add(file, vector) for file, vector in enumerate(honest)]
        holders = scheme.draw(step, range(config.p)).holders
        sent = {}
        if adversary is not None:
            for worker, file in sorted((worker, file) for file, of_one in enumerate(holders) for worker in of_one):
                header = Header(Kind.WORK, step, worker, file)
                if not adversary.controls(worker, step):
                    adversary.overhear(header, honest[file])
                else:
                    own = honest[file] if poisoned is task else workers.compute(poisoned, *drawn[file])
                    if momentum is not None and poisoned is not task:
                        own = momentum[True].add(worker, own)
                    adversary.take((worker, file), header, own)
            sent = dict(adversary.answers())
        votes = []
        for file, of_one in enumerate(holders):
            lies = [sent[worker, file] for worker in of_one if (worker, file) in sent]
            right = codec.quantise(honest[file])
            vote = _vote([codec.quantise(vector) for vector in lies], right, len(of_one))
            if vote is not None:
                votes.append(vote)
                bad += bool(lies) and vote.tobytes() != right.tobytes()
        if not aggregation.too_few(len(votes), config.q):
            of_all = np.stack(votes)
            update, buffers = aggregation.aggregate(step, of_all, config.q, model)
            aggregation.apply(of_all, config.q, update, buffers, model)
        if step % config.eval_every == 0 or step == config.steps:
            scores = model.evaluate()
            if "accuracy" not in scores:
                raise ConfigError(
                    f"task = {config.task!r}: it has {sorted(scores)} and no accuracy, of which the table is"
                )
            accuracy[step] = scores["accuracy"]
    return {"accuracy": accuracy, "bad": bad / (config.steps * config.votes), "digest": model.digest}


def _vote(lies: list[np.ndarray], honest: np.ndarray, r: int) -> np.ndarray | None:
    """The vote of r holders, of whom some lie; None where there is no finite one."""
    sent = {vector.tobytes(): vector for vector in lies}
    counts = Counter(vector.tobytes() for vector in lies)
    right = honest.tobytes() if lies else b""
    counts[right] += r - len(lies)
    ((winner, count),) = counts.most_common(1)
    vote = honest if winner == right else sent[winner]
    return vote if 2 * count > r and np.isfinite(vote).all() else None


def of_grid(path: Path) -> list[Config]:
    """Its runs; of one of byzfl's, JSON, with r = 1, and with r = 3 where that can be."""
    if path.suffix == ".json":
        return [config for r in (1, 3) for config in byzfl_configs(str(path), r)[0]]
    return configs(str(path))


def row(config: Config, result: dict[str, Any]) -> dict[str, Any]:
    """Of the table."""
    steps = {int(step): value for step, value in result["accuracy"].items()}
    scale = "" if config.attack.scale is None else f", {config.attack.scale:g}"
    split, alpha, similarity = config.data.split, config.data.alpha, config.data.similarity
    return {
        "method": config.name,
        "p": config.p,
        "r": config.r,
        "q": config.q,
        "attack": f"{config.attack.kind}{scale}" if config.q else "none",
        "split": config.data.split + {"dirichlet": f" {alpha:g}", "similarity": f" {similarity:g}"}.get(split, ""),
        "lr": config.optimizer.lr,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "accuracy": steps[max(steps)],
        "best": max(steps.values()),
        "bad": round(result["bad"], 4),
    }


def main() -> None:
    """Makes the runs, and the tables."""
    parser = ArgumentParser("python -m experiments.simulation", description=__doc__.splitlines()[0])
    parser.add_argument("grid", nargs="+", type=Path)
    parser.add_argument("--resume", action=BooleanOptionalAction, default=True)
    options = parser.parse_args()
    fix_torch()
    tasks: dict[tuple[str | None, ...], Task] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    try:
        runs = [(grid.stem, config) for grid in options.grid for config in of_grid(grid)]
        for _, config in runs:
            check(config)
    except DetoxError as error:
        sys.exit(f"simulation: {error}")
    for name, config in sorted(runs, key=lambda run: run[1].seed):  # a table that is cut short has whole seeds
        key = config.task, config.model, config.data_dir, config.device
        tasks[key] = tasks.get(key) or config.create_task()

        def compute(run: str, config: Config = config, task: Task = tasks[key]) -> dict[str, Any]:
            return simulate(config, task)

        try:
            result = kept(compute, Path("runs") / name, options.resume, run=config.identity)
        except ConfigError as error:
            sys.exit(f"simulation: {error}")
        rows.setdefault(name, []).append(row(config, result))
        print(json.dumps(rows[name][-1]), flush=True)
        write_csv(rows[name], Path("runs") / f"{name}.csv")


if __name__ == "__main__":
    main()
