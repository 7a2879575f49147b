"""`detox-ps list`: every name that a config can have, with a sentence."""

import pytest
import torch

from detox.aggregators import PREAGGREGATORS, RULES
from detox.aggregators.pairs import BASELINES, PAIRS
from detox.assignment import SCHEMES
from detox.commands.listing import KINDS, list_
from detox.config import Config
from detox.config.defences import QuarantineConfig
from detox.ps.ballots import VOTES
from detox.tasks import MODELS, TASKS
from detox.worker.attacks import ATTACKS
from detox.worker.faults import FAULTS

NAMES = {
    "tasks": TASKS,
    "models": MODELS,
    "optimizers": {"SGD", "Adam", "AdamW"},
    "schedules": {"constant", "step", "cosine", "OneCycleLR"},
    "rules": RULES,
    "preaggregators": PREAGGREGATORS,
    "pairs": PAIRS | BASELINES,
    "schemes": SCHEMES,
    "votes": VOTES,
    "quarantine": ("auto", "never", "graph", "majority", "recompute"),
    "attacks": ATTACKS,
    "faults": FAULTS,
}


def test_every_kind_is_looked_at_here():
    assert list(KINDS) == list(NAMES)


@pytest.mark.parametrize("kind", NAMES)
def test_each_name_has_one_line_of_words(kind, capsys):
    assert list_([kind]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    listed = [name for name, _ in lines]
    assert NAMES[kind] < set(listed) if isinstance(NAMES[kind], set) else listed == list(NAMES[kind])
    assert all(words.endswith(".") for _, words in lines)


def test_what_is_listed_is_what_a_config_takes():
    policies = QuarantineConfig.model_json_schema()["properties"]["policy"]["enum"]
    assert tuple(policies) == NAMES["quarantine"]
    faults = Config.model_json_schema()["$defs"]["FaultConfig"]["properties"]["kind"]["items"]["enum"]
    assert faults == list(FAULTS)
    assert all(hasattr(torch.optim, name) for name in KINDS["optimizers"]())
    assert not {"LBFGS", "SparseAdam"} & KINDS["optimizers"]().keys()


def test_without_a_kind_the_kinds_are_listed(capsys):
    assert list_([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(KINDS)
