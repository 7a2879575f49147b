"""Runs in the layout of byzfl 0.0.11's benchmark, so that byzfl.benchmark.evaluate_results draws them."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detox.config import Config
from detox.config.byzfl import ATTACKS, DATASETS, PREAGGREGATORS, RULES, SPLITS
from detox.errors import UserError
from detox.reports.results import FinishedRun

if TYPE_CHECKING:
    from detox.tasks import Task

_AXES = ("f", "parameter", "rule", "pre", "attack", "lr", "mom", "wd", "seed")


def write_byzfl(runs: Sequence[FinishedRun], folder: Path) -> None:
    """Writes config.json, and a folder a cell with the accuracies of each seed.

    byzfl evaluates before the first step too: for that the untrained model is evaluated here, which reads the data.
    There are no files of validation.

    Args:
        runs: whose score is an accuracy.
        folder: where to; it is made.

    Raises:
        UserError: an accuracy is missing, or the runs are no full grid, or are not of one task, model and length.
        OSError: something cannot be written.
    """
    for run in runs:
        if any(of.scores.get("accuracy") is None for of in run.scores):
            raise UserError(f"--byzfl: {run.config.folder.name} has an evaluation without an accuracy; leave it out")
    cells = [_cell(run.config) for run in runs]
    text = json.dumps(_grid(cells, runs), indent=4)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(text, encoding="utf-8")
    tasks: dict[tuple[str, str | None], Task] = {}
    for run, cell in zip(runs, cells, strict=True):
        config, own = run.config, folder / _folder_of(cell)
        own.mkdir(exist_ok=True)
        (own / "config.json").write_text(text, encoding="utf-8")
        key = config.task, config.model
        tasks[key] = tasks.get(key) or config.create_task()
        untrained = config.create_model(tasks[key]).evaluate()["accuracy"]
        scores = [untrained, *(of.scores["accuracy"] for of in run.scores)]
        line = ",".join(f"{score:.4f}" for score in scores)
        (own / f"test_accuracy_tr_seed_{cell['seed']}_dd_seed_0.txt").write_text(line + "\n", encoding="utf-8")


def _grid(cells: Sequence[dict[str, Any]], runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """config.json of all cells."""
    values = {name: list(dict.fromkeys(cell[name] for cell in cells)) for name in cells[0]}
    for name in ("dataset", "model", "split"):
        if len(values[name]) > 1:
            raise UserError(f"--byzfl: a folder of byzfl's has one {name}, these runs have {values[name]}")
    lengths = {(run.config.steps, run.config.eval_every) for run in runs}
    if len(lengths) > 1:
        raise UserError(f"--byzfl: these runs differ in steps or eval_every: {sorted(lengths)}")
    honest = list(dict.fromkeys(cell["n"] - cell["f"] for cell in cells))
    grown = len(honest) == 1
    if not grown and len(values["n"]) > 1:
        raise UserError("--byzfl: of byzfl's grids either p or p - q is one number; these runs vary both")
    there = {tuple(cell[name] for name in _AXES) for cell in cells}
    if missing := [cell for cell in product(*(values[name] for name in _AXES)) if cell not in there]:
        raise UserError(f"--byzfl: {len(missing)} runs of the grid are missing, such as {missing[0]}")
    steps, every = next(iter(lengths))
    benchmark: dict[str, Any] = {
        "nb_steps": steps, "f": sorted(values["f"]), "set_honest_clients_as_clients": not grown,
        "nb_honest_clients": honest if grown else values["n"], "size_train_set": 1.0,
        "training_seed": min(values["seed"]), "nb_training_seeds": len(values["seed"]),
        "data_distribution_seed": 0, "nb_data_distribution_seeds": 1,
        "data_distribution": [{"name": values["split"][0], "distribution_parameter": values["parameter"]}],
    }  # fmt: skip
    if any(cell["d"] != cell["f"] for cell in cells):
        benchmark["tolerated_f"] = sorted(values["d"])
    return {
        "benchmark_config": benchmark,
        "model": {"name": values["model"][0], "dataset_name": values["dataset"][0], "learning_rate": values["lr"]},
        "aggregator": [{"name": name, "parameters": {}} for name in values["rule"]],
        "pre_aggregators": [
            [{"name": name, "parameters": {}} for name in names.split("_") if name] for names in values["pre"]
        ],
        "honest_clients": {"momentum": values["mom"], "weight_decay": values["wd"]},
        "attack": [{"name": name, "parameters": {}} for name in values["attack"]],
        "evaluation_and_results": {"evaluation_delta": every, "evaluate_on_test": True},
    }


def _folder_of(cell: dict[str, Any]) -> str:
    return (
        "{dataset}_{model}_n_{n}_f_{f}_d_{d}_{split}_{parameter}_{rule}_{pre}_{attack}_lr_{lr}_mom_{mom}_wd_{wd}"
    ).format(**cell)


def _cell(config: Config) -> dict[str, Any]:
    """A run in byzfl's words; what has none keeps its own."""

    def theirs(names: Mapping[str, str], name: str) -> str:
        return next((other for other, ours in names.items() if ours == name), name)

    attack, data, fixed = config.attack, config.data, config.aggregator.f
    given = attack.kind, attack.scale
    attacks = (name for name, (kind, scale) in ATTACKS.items() if (kind, scale({"tau": attack.scale})) == given)
    rule = theirs(RULES, config.aggregator.name or config.aggregator.a1 or "")
    return {
        "dataset": theirs(DATASETS, config.task),
        "model": config.model or "default",
        "n": config.p,
        "f": config.q,
        "d": config.q if fixed is None or config.r > 1 or rule == "Average" else fixed,
        "split": theirs(SPLITS, data.split),
        "parameter": {"similarity": data.similarity, "dirichlet": data.alpha}.get(data.split),
        "rule": rule if config.r == 1 else f"DETOX {config.r} {rule}",
        "pre": "_".join(theirs(PREAGGREGATORS, name) for name in config.aggregator.pre),
        "attack": next(attacks, attack.kind) if config.q else "NoAttack",
        "lr": config.optimizer.lr,
        "mom": config.worker_momentum,
        "wd": config.optimizer.weight_decay,
        "seed": config.seed,
    }
