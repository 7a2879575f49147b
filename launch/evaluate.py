"""`detox-ps evaluate`: what the task says of the weights that a run has left, in one process and without MPI."""

import json
from argparse import ArgumentParser
from pathlib import Path

from detox.config import ConfigError
from detox.launch.console import scores_in_words
from detox.launch.environment import fix_torch
from detox.ps.weights import read_facts
from detox.reports.records import read_run
from detox.reports.runs import WEIGHTS, weights_in


def evaluate(argv: list[str]) -> int:
    """Prints the scores; returns 0."""
    options = parser().parse_args(argv)
    from detox.launch.scores import evaluate as scores_of  # which imports torch

    run = Path(options.run)
    config = read_run(run)
    file = weights_in(run, options.model) if options.model in WEIGHTS else Path(options.model)
    if not file.is_file():
        raise ConfigError(f"there is no {file}: a file of weights is needed, or best, or last")
    fix_torch()
    changes = {"init": str(file)} | ({} if options.device is None else {"device": options.device})
    config = config.model_copy(update=changes)
    model = config.create_model(config.create_task())
    scores = scores_of(model)
    step = read_facts(file).get("step")
    if options.json:
        print(json.dumps({"weights": str(file), "step": int(step) if step else None, "scores": scores}))
    else:
        print(f"{file}{f', step {step}' if step else ''}: {scores_in_words(scores)}")
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps evaluate",
        allow_abbrev=False,
        description="Evaluates weights that a run has left, with the task's own evaluate; a task of your own is looked "
        "for in the current folder, as in training.",
    )
    line.add_argument("run", metavar="RUN", help="the folder of a run")
    line.add_argument(
        "--model", default="last", metavar="best|last|FILE", help="which weights; a FILE may be any of that model"
    )
    line.add_argument("--device", help="where; unset: as the run's config says")
    line.add_argument("--json", action="store_true", help="prints an object instead of a sentence")
    return line
