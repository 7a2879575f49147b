"""Values on the command line that do not suit their fields."""

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
