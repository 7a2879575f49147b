"""`detox-ps list`: what a config can name, one line each, in the words of what it names."""

import inspect
import re
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from typing import Any

Lines = Mapping[str, str]


def list_(argv: list[str]) -> int:
    """Prints the names of a kind, or the kinds; returns 0."""
    kind = parser().parse_args(argv).kind
    lines = KINDS[kind]() if kind else {name: summary(find) for name, find in KINDS.items()}
    width = max(map(len, lines))
    for name, words in lines.items():
        print(f"{name:{width}}  {words}".rstrip())
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser("detox-ps list", description="What a config can name, one line each.", allow_abbrev=False)
    line.add_argument("kind", nargs="?", choices=list(KINDS), help="unset: which kinds there are")
    return line


def summary(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def _rules() -> Lines:
    """aggregator.name, a0, a1: rules, (n, d) votes to one vector; what they need of n votes, f of them bad."""
    from detox.aggregators import RULES

    return {name: f"{rule.summary} Needs {rule.condition.text}." for name, rule in RULES.items()}


def _pairs() -> Lines:
    """aggregator.name: a rule within vote groups, and one across them."""
    from detox.aggregators.pairs import BASELINES, PAIRS

    def told(a0: str, a1: str, k: int | None, groups: int | None) -> str:
        if k is None and groups is None:
            return f"{a0} over all votes."
        sizes = f"vote groups of {k}" if groups is None else f"{groups} vote groups"
        return f"{a0} within {sizes}, {a1} across them."

    exact = " No vote may be bad: needs groups of r >= 2q + 1."
    return {
        name: told(pair.a0, pair.a1, pair.k, pair.groups) + exact * pair.exact
        for name, pair in (PAIRS | BASELINES).items()
    }


def _preaggregators() -> Lines:
    """aggregator.pre: what is done to the votes first."""
    from detox.aggregators import PREAGGREGATORS

    return {name: f"{rule.summary} Needs {rule.condition.text}." for name, rule in PREAGGREGATORS.items()}


def _attacks() -> Lines:
    """attack.kind: what Byzantine workers send; g is the own gradient, mu and sigma are of the known ones."""
    from detox.worker.attacks import ATTACKS

    return {name: summary(kind.attack) for name, kind in ATTACKS.items()}


def _faults() -> Lines:
    """fault.kind: how workers break down, for a drill."""
    from detox.worker.faults import FAULTS

    return FAULTS


def _tasks() -> Lines:
    """task: data sets; or my_module:MyTask for one of your own."""
    from detox.tasks.datasets import DATASETS

    return {name: f"{summary(task.load)} Model: {task.model}." for name, task in DATASETS.items()}


def _models() -> Lines:
    """model: of the tasks above."""
    from detox.tasks import MODELS

    return {name: summary(build) for name, build in MODELS.items()}


def _optimizers() -> Lines:
    """optimizer.name: those of torch.optim that need no more than gradients."""
    import torch

    from detox.ps.optimizers import create_optimizer, optimizers

    def serves(name: str) -> bool:
        try:
            create_optimizer(name, [torch.zeros(1, 1)], {})
        except ValueError:
            return False
        return True

    return {name: summary(kind) for name, kind in sorted(optimizers().items()) if serves(name)}


def _schedules() -> Lines:
    """optimizer.schedule: those of torch.optim.lr_scheduler that need no function, and constant; epochs are updates."""
    from detox.ps.schedule import schedules

    return {"constant": "Keeps the learning rate.", **{name: summary(kind) for name, kind in schedules().items()}}


def _schemes() -> Lines:
    """groups: who computes which file."""
    from detox.assignment import SCHEMES

    return {name: summary(scheme) for name, scheme in SCHEMES.items()}


def _votes() -> Lines:
    """vote: how the holders of a file agree."""
    from detox.ps.ballots import VOTES

    return {name: summary(ballot) for name, ballot in VOTES.items()}


def _quarantine() -> Lines:
    """quarantine.policy: when a worker is left out."""
    from detox.config.defences import QuarantineConfig

    return _described(QuarantineConfig, "policy")


def _described(section: Any, field: str) -> Lines:
    """The values of a field, as its description says them: "value: words. value: words"."""
    schema = section.model_json_schema()["properties"][field]
    text = " ".join(schema["description"].split())
    parts = re.split(rf"(?:^|(?<=[.;]) )({'|'.join(schema['enum'])}): ", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


KINDS: dict[str, Callable[[], Lines]] = {
    find.__name__.strip("_"): find
    for find in (
        _tasks, _models, _optimizers, _schedules, _rules, _preaggregators, _pairs,
        _schemes, _votes, _quarantine, _attacks, _faults,
    )
}  # fmt: skip
