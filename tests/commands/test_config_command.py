"""`detox-ps config`: a config with its defaults, and the schema of all configs."""

import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from detox.commands.configs import config, schema
from detox.config import Config, ConfigError, read_config

ROOT = Path(__file__).parents[2]
SHIPPED = [*(ROOT / "experiments").glob("*.toml"), *(ROOT / "examples").glob("*.toml")]
VALIDATOR = Draft202012Validator(json.loads(schema()))


def test_the_resolved_config_is_printed_as_toml_and_read_back_the_same(capsys):
    path = str(ROOT / "experiments" / "digits.toml")
    assert config(["--show", path, "--q", "2"]) == 0
    shown = tomllib.loads(capsys.readouterr().out)
    assert shown["q"] == 2
    assert shown["transport"]["deadline"] == Config().transport.deadline
    assert Config(**shown) == read_config(path, ["--q", "2"])


def test_a_config_that_cannot_be_run_is_refused_in_words():
    with pytest.raises(ConfigError, match="r = 4 is even"):
        config(["--show", str(ROOT / "experiments" / "digits.toml"), "--r", "4"])


@pytest.mark.parametrize("words", [[], ["--show"], ["--schema", "--show"], ["--show", "--q", "2"]])
def test_a_command_line_without_a_config_is_told(words, capsys):
    with pytest.raises(SystemExit) as stop:
        config(words)
    assert stop.value.code == 2
    assert "usage: detox-ps config --show CONFIG.toml" in capsys.readouterr().err


def test_the_schema_is_printed_and_takes_no_more(capsys):
    assert config(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == VALIDATOR.schema
    with pytest.raises(ConfigError, match=r"got x\.toml"):
        config(["--schema", "x.toml"])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_configs_conform_to_the_schema(path):
    Draft202012Validator.check_schema(VALIDATOR.schema)
    assert list(VALIDATOR.iter_errors(tomllib.loads(path.read_text()))) == []


@pytest.mark.parametrize(
    "fields", [{"colour": 1}, {"p": "3"}, {"attack": {"kind": "tickle"}}, {"optimizer": {"options": {"betas": {}}}}]
)
def test_what_a_config_does_not_take_the_schema_refuses(fields):
    assert list(VALIDATOR.iter_errors(fields))
