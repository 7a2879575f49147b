"""`detox-ps new`: a task and a config that run, and nothing overwritten."""

import importlib.util
import json
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from jsonschema import Draft202012Validator

from detox.commands.new import new, write_task
from detox.config import ConfigError, read_config
from detox.ps.trial import try_out
from detox.tasks import create_task


def test_what_is_written_can_be_run_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert new(["task", "two_rings"]) == 0
    assert "detox-ps launch -n 3 two_rings.toml" in capsys.readouterr().out
    config = read_config("two_rings.toml", [])
    assert config.task == "two_rings:TwoRingsTask"
    task, said = create_task(config.task), []
    model = config.create_model(task)
    try_out(task, model, config.create_files(task), bits=True, signs=False, warn=said.append)
    assert said == []


def test_the_written_task_learns(tmp_path):
    write_task("rings", tmp_path)
    spec = importlib.util.spec_from_file_location("rings", tmp_path / "rings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    task = module.RingsTask(device=torch.device("cpu"))
    torch.manual_seed(0)
    model, generator = task.build_model(), torch.Generator()
    optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    for start in range(0, 3000, 100):
        optimizer.zero_grad()
        task.loss(model, torch.arange(start, start + 100).numpy() % task.train_size, generator).backward()
        optimizer.step()
    assert task.evaluate(model)["accuracy"] > 0.9


def test_editors_find_the_schema_that_the_config_names(tmp_path):
    write_task("rings", tmp_path)
    first, *_ = (tmp_path / "rings.toml").read_text().splitlines()
    schema = json.loads((tmp_path / first.removeprefix("#:schema ")).read_text())
    fields = tomllib.loads((tmp_path / "rings.toml").read_text())
    assert list(Draft202012Validator(schema).iter_errors(fields)) == []


@pytest.mark.parametrize("ending", [".py", ".toml"])
def test_what_exists_is_never_overwritten(tmp_path, ending):
    (tmp_path / f"mine{ending}").write_text("mine")
    with pytest.raises(ConfigError, match=rf"mine\{ending} exists, and is left as it is"):
        write_task("mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"mine{ending}"]
    (tmp_path / "detox.schema.json").write_text("mine")
    write_task("other", tmp_path)
    assert (tmp_path / "detox.schema.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("json", "also a module of Python's"),
        ("torch", "or of an installed package"),
        ("Moons", "no name for a module"),
        ("class", "no word of Python's"),
        ("../x", "no name for a module"),
        ("", "no name for a module"),
    ],
)
def test_a_name_that_a_module_cannot_have_is_told(tmp_path, name, words):
    with pytest.raises(ConfigError, match=words):
        write_task(name, tmp_path)
    assert list(Path(tmp_path).iterdir()) == []
