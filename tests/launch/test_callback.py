"""The user's own function that is told the numbers of a run."""

import math
import re
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from detox.launch.callback import Callback, numbers
from detox.tasks import TaskError

LINE = {"step": 3, "seconds": {"wait": 0.25, "update": 0.5}, "bytes_in": 7, "loss": 0.5, "accuracy": None}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes the user's module; its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text):
        name = f"tracker_{abs(hash(text))}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def test_a_line_of_the_metrics_becomes_numbers_by_name():
    told = numbers(LINE)
    assert math.isnan(told.pop("accuracy"))
    assert told == {"seconds": 0.75, "seconds_wait": 0.25, "seconds_update": 0.5, "bytes_in": 7, "loss": 0.5}
    assert numbers({"step": 4, "skipped": "no votes", "bytes_in": 0}) == {"bytes_in": 0, "skipped": 1}
    assert numbers({"loss": 0.25}) == {"loss": 0.25}


def test_the_function_gets_step_and_numbers_and_is_closed_at_the_end(module):
    name = module("told = []\ndef log(step, numbers): told.append((step, numbers['loss']))\nlog.close = told.clear\n")
    said = []
    callback = Callback(f"{name}:log", said.append)
    callback(3, LINE)
    told = sys.modules[name].told
    assert (told, said) == ([(3, 0.5)], [])
    callback.close()
    assert told == []


def test_an_error_in_the_function_is_told_once_and_ends_nothing(module):
    name = module("def log(step, numbers):\n    raise KeyError('no server')\n")
    said = []
    callback = Callback(f"{name}:log", said.append)
    for step in range(3):
        callback(step, LINE)
    callback.close()  # it has none
    assert len(said) == 1
    assert said[0].startswith(f"metrics = {name}:log: it failed with KeyError: 'no server', in ")
    assert said[0].endswith(f"{name}.py:2 (log); this is said once, and the training goes on")


@pytest.mark.parametrize(
    ("text", "attribute", "words"),
    [
        ("", "log", "has no log"),
        ("log = 3", "log", "it is no function"),
        ("import wandbb", "log", "No module named 'wandbb'"),
        ("1 / 0", "log", "importing .* failed with ZeroDivisionError"),
        ("", "", "write it as my_module:name"),
    ],
)
def test_what_cannot_be_called_is_told_at_the_start(module, text, attribute, words):
    name = module(f"{text}\n# {attribute}\n")
    with pytest.raises(TaskError, match=rf"^metrics = {name}:{attribute}: .*{words}"):
        Callback(f"{name}:{attribute}", print)


BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "terminal.md").read_text(), re.DOTALL)
TRACKERS = ["mlflow", "wandb", "tensorboard"]


@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_documented_functions_pass_the_numbers_on(module, monkeypatch, tmp_path, tracker):
    (block,) = (block for block in BLOCKS if tracker in block.splitlines()[0])
    fake = MagicMock()
    if tracker != "tensorboard":  # which is installed
        monkeypatch.setitem(sys.modules, tracker, fake)
    said = []
    callback = Callback(f"{module(block)}:log", said.append)
    callback(3, {"step": 3, "loss": 0.5})
    callback.close()
    assert said == []
    if tracker == "tensorboard":
        assert list((tmp_path / "events").glob("events.*"))
    else:
        (log,) = (call for call in fake.mock_calls if call.args)
        assert (log.args, log.kwargs) == (({"loss": 0.5},), {"step": 3})
        assert fake.end_run.called or fake.init().finish.called
