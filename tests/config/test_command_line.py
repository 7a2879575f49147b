"""Values on the command line that do not suit their fields."""

import tomllib
from types import UnionType
from typing import Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from detox.config import Config, ConfigError, override

WRONG = {
    "--audit.ps automatic": "audit.ps: Input should be a valid integer, or 'auto', got 'automatic'",
    "--transport.deadline soon": "transport.deadline: Input should be a valid number, or 'auto', got 'soon'",
    "--transport.deadline -1": "transport.deadline: Input should be greater than 0, or 'auto', got -1",
    "--transport.p-min few": "transport.p_min: Input should be a valid integer, got 'few'",
    "--p=x": "p: Input should be a valid integer, got 'x'",
    "--name 5 --p x": "p: Input should be a valid integer, got 'x'",  # the name is one
    "--groups circles": "groups: Input should be 'fixed', 'random', 'redrawn', 'mols', 'ramanujan' or 'steiner', got",
}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--steps 3", "steps = 3"),
        ("--steps=3 --batch_size 4", "steps = 3\nbatch_size = 4"),
        ("--seed 5 --seed 6", "seed = 6"),
        ("--model None", ""),
        ("--no-share-compute", "share_compute = false"),
        ("--optimizer.lr 0.2 --attack.kind alie", '[optimizer]\nlr = 0.2\n[attack]\nkind = "alie"'),
        ("--optimizer.options nesterov True --q 2", "q = 2\n[optimizer]\noptions = { nesterov = true }"),
        ("--fault.worker 2 5 --fault.kind kill exit", '[fault]\nworker = [2, 5]\nkind = ["kill", "exit"]'),
    ],
)
def test_the_command_line_gives_what_the_file_would(words, text):
    fields = {"p": 9, "optimizer": {"momentum": 0.9}, "attack": {"scale": 2.0}}
    inside = {name: {**fields.get(name, {}), **value} if isinstance(value, dict) else value
              for name, value in tomllib.loads(text).items()}  # fmt: skip
    assert override(Config(**fields), words.split()) == Config(**{**fields, **inside})


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_value_on_the_command_line_is_told_as_in_a_file(words):
    with pytest.raises(ConfigError) as error:
        override(Config(), words.split())
    assert str(error.value).startswith(f"on the command line: {WRONG[words]}")


def _mixed(model, prefix="--"):
    """The options of all fields that take a number or a word, and no text."""
    for name, field in model.model_fields.items():
        option, kind = f"{prefix}{name}".replace("_", "-"), field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _mixed(kind, f"{option}.")
        elif get_origin(kind) in (Union, UnionType, Literal) and str not in get_args(kind):
            yield option


@pytest.mark.parametrize("option", list(_mixed(Config)))
def test_no_field_of_several_types_tells_them_in_pythons_words(option):
    with pytest.raises(ConfigError) as error:
        override(Config(), [option, "no-such-value"])
    assert "typing" not in str(error.value)
    assert "no-such-value" in str(error.value)
