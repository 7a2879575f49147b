"""Each example of a task, with its own config, in this process: it is sound, it learns, and two ranks agree."""

from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import Subset

from detox.config import check, read_config
from detox.ps.trial import try_out
from detox.tasks import Batches, FlatModel, create_task

FOLDER = Path(__file__).parents[2] / "examples"
SCORES = {
    "wine": {"loss", "accuracy"},
    "diabetes": {"loss", "r2"},
    "characters": {"loss", "bits_per_character"},
}
FALL = {"wine": 0.8, "diabetes": 0.9, "characters": 0.95}  # of the loss in a few steps


def test_each_file_is_an_example_with_a_config():
    assert {path.stem for path in FOLDER.glob("*.py")} == SCORES.keys() == {p.stem for p in FOLDER.glob("*.toml")}


@pytest.mark.parametrize("name", SCORES)
def test_an_example_is_sound_and_learns_and_two_ranks_compute_equal_bits(name, monkeypatch):
    monkeypatch.chdir(FOLDER)
    monkeypatch.syspath_prepend(FOLDER)
    config = read_config(f"{name}.toml", ["--batch-size", "2", "--optimizer.warmup", "2"])
    check(config)
    task, other = (create_task(config.task) for _ in range(2))
    if name == "characters":  # all that it is tested on take seconds
        task.test = Batches(Subset(task.test.dataset, range(8)), task.device)
    model, files = config.create_model(task), config.create_files(task)
    try_out(task, model, files, bits=True, signs=False, warn=pytest.fail)
    before = model.evaluate()
    assert before.keys() == SCORES[name]
    worker = FlatModel.build(other, config.seed)
    for step in range(1, 5):
        computed = [model.compute(file, files.file_seed(step, i)) for i, file in enumerate(files.draw(step))]
        worker.load(model.weights)
        assert worker.compute(other, files.draw(step)[0], files.file_seed(step, 0)).tobytes() == computed[0].tobytes()
        model.apply(np.mean(computed, axis=0)[: model.d], None)
    assert model.evaluate()["loss"] < FALL[name] * before["loss"]


def test_the_transformer_has_351072_parameters_and_cannot_see_what_comes_next(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    task = create_task("characters:CharacterTask")
    flat = FlatModel.build(task, 0)
    assert (flat.d, flat.b) == (351_072, 0)
    flat.module.eval()
    (before, _), *_ = Batches(Subset(task.train.dataset, [0]), task.device)
    changed = before.clone()
    changed[0, 40:] = 5
    scores, others = flat.module(before), flat.module(changed)
    assert scores[0, :40].tolist() == others[0, :40].tolist()
    assert not np.allclose(scores[0, 40].tolist(), others[0, 40].tolist())
