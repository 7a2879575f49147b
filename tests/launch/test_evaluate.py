"""The weights of a run, in one process: evaluated by the command, and loaded by the lines in README."""

import json
import re
from pathlib import Path

import pytest
import torch

import detox
from detox.config import Config, ConfigError
from detox.errors import UserError
from detox.launch.evaluate import evaluate
from detox.ps.folder import RunFolder
from detox.tasks import create_task

pytestmark = pytest.mark.usefixtures("settings_of_torch")

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with two models, and the scores of each."""
    config = Config(name="digits", steps=4)
    folder = RunFolder(tmp_path_factory.mktemp("run") / "digits-0")
    folder.create(config.toml())
    task, scores = create_task("digits"), {}
    for seed, name in enumerate(("model", "best")):
        model = config.model_copy(update={"seed": seed}).create_model(task)
        folder.save_weights(name, model.named(), {"step": 4 - seed})
        scores[name] = model.evaluate()
    assert scores["model"] != scores["best"]
    return folder, scores


def test_the_scores_are_those_that_the_ps_found(run, capsys):
    folder, scores = run
    for options, name in (((), "model"), (("--model", "last"), "model"), (("--model", "best"), "best"),
                          (("--model", str(folder.path / "best.pt")), "best")):  # fmt: skip
        assert evaluate([str(folder.path), *options, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["scores"] == scores[name]
        assert told["step"] == (None if "best.pt" in told["weights"] else 4 if name == "model" else 3)
    evaluate([str(folder.path), "--model", "best"])
    line = capsys.readouterr().out
    assert "best.safetensors, step 3: " in line
    assert f"accuracy {scores['best']['accuracy']:.2%}" in line


def test_from_python_the_model_is_a_module_with_these_weights(run, tmp_path):
    folder, scores = run
    own, random = create_task("digits"), torch.get_rng_state()
    for which, task in (("last", None), ("best", own)):
        model = detox.Run(folder.path).model(task, which=which)
        assert not model.training
        assert create_task("digits").evaluate(model) == scores["best" if which == "best" else "model"]
    assert torch.equal(torch.get_rng_state(), random)
    with pytest.raises(UserError, match=r"which = 'first'; known: last, best"):
        detox.Run(folder.path).model(which="first")
    other = RunFolder(tmp_path / "young")
    other.create(Config(name="young").toml())
    with pytest.raises(UserError, match=r"no .*best\.safetensors: it comes with"):
        detox.Run(other.path).model(which="best")
    other.save_weights("model", {"weight": torch.ones(3)}, {})
    with pytest.raises(UserError, match=r"model\.safetensors is of another model: it lacks"):
        detox.Run(other.path).model()


def test_what_cannot_be_evaluated_is_told_in_words(run, tmp_path):
    folder, _ = run
    with pytest.raises(UserError, match="is not the folder of a run"):
        evaluate([str(tmp_path)])
    with pytest.raises(ConfigError, match=r"there is no nowhere\.pt: a file of weights is needed, or best, or last"):
        evaluate([str(folder.path), "--model", "nowhere.pt"])
    other = RunFolder(tmp_path / "young")
    other.create(Config(name="young").toml())
    with pytest.raises(UserError, match=r"no .*model\.safetensors: weights come with its first checkpoint"):
        evaluate([str(other.path)])
    torch.save({"weight": torch.ones(3)}, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match=r"other\.pt is of another model: it lacks"):
        evaluate([str(folder.path), "--model", str(tmp_path / "other.pt")])


def test_the_lines_in_the_readme_load_the_model(run):
    folder, _ = run
    (block,) = [b for b in re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
                if "load_state_dict" in b]  # fmt: skip
    assert "runs/digits-HASH" in block
    names = {}
    exec(block.replace("runs/digits-HASH", str(folder.path)), names)
    task = create_task("digits")
    config = Config(name="digits", init=str(folder.path / "model.pt"))
    ours = config.create_model(task).module.state_dict()
    assert {name: tensor.tolist() for name, tensor in names["model"].state_dict().items()} == {
        name: tensor.tolist() for name, tensor in ours.items()
    }
