"""A longer run goes on from a shorter one, and a new one says what makes it new."""

import json
import stat

import pytest

from detox.config import Config
from detox.launch.relatives import predecessor, why_new
from detox.ps.folder import RunFolder


@pytest.fixture
def config(tmp_path):
    return lambda **fields: Config(**{"name": "a[b]", "output": str(tmp_path), "steps": 300, **fields})


def made(config, step=300, status="finished", secret=5):
    """The folder of a run that has come so far."""
    folder = RunFolder(config.folder)
    folder.create(config.toml())
    folder.keep_secret(lambda: secret)
    folder.write_provenance({"torch": "2"})
    folder.append_metrics({"step": step})
    folder.ledger.write_text('{"step": 1}\n')
    folder.save_checkpoint(step - 1, {"at": step - 1})
    folder.save_checkpoint(step, {"at": step})
    folder.write_status(status)
    if status == "finished":
        folder.finish({"steps": step})
    return folder


@pytest.mark.parametrize("status", ["finished", "interrupted", "failed"])
def test_a_longer_run_goes_on_from_the_longest_shorter_one(config, status):
    made(config(steps=100), 100)
    shorter = made(config(), 250, status)
    made(config(steps=900), 900)
    made(config(steps=500, q=1), 500)
    longer = config(steps=600)
    assert predecessor(longer).path == shorter.path
    assert f"goes on from {shorter.path}, which differs in steps alone" in why_new(longer)
    before = {path: path.read_bytes() for path in shorter.path.rglob("*") if path.is_file()}
    folder = RunFolder(longer.folder)
    folder.create(longer.toml())
    folder.continue_from(shorter)
    assert folder.load_checkpoint(pytest.fail) == (250, {"at": 250})
    assert folder.read_secret() == 5
    assert stat.S_IMODE(folder.secret.stat().st_mode) == 0o600
    assert folder.read_provenance() == {"torch": "2"}
    assert json.loads(folder.metrics.read_text()) == {"step": 250}
    assert not folder.done
    assert "steps = 600" in (folder.path / "config.toml").read_text()
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ({"status": "running"}, {}),
        ({}, {"steps": 200}),
        ({}, {"q": 1}),
        ({}, {"secret_seed": 6}),
        ({}, {"groups": "random"}),
        ({}, {"name": "c"}),
    ],
)
def test_it_goes_on_from_no_other(config, there, here):
    made(config(), **there)
    assert predecessor(config(**{"steps": 600, **here})) is None


def test_with_the_secret_that_the_shorter_one_kept_it_goes_on(config):
    shorter = made(config(), secret=7)
    assert predecessor(config(steps=600, secret_seed=7)).path == shorter.path


def test_a_run_without_a_checkpoint_is_nothing_to_go_on_from(config):
    folder = RunFolder(config().folder)
    folder.create(config().toml())
    assert predecessor(config(steps=600)) is None
    assert "differs in steps (300 there, 600 here)" in why_new(config(steps=600))


def test_a_new_run_says_how_it_differs_from_the_nearest_and_the_first_says_nothing(config):
    assert why_new(config()) == ""
    nearest = made(config(q=2, optimizer={"lr": 0.2}))
    made(config(q=2, optimizer={"lr": 0.2, "momentum": 0.9}, data_dir="x", seed=3))
    told = why_new(config(data_dir="y", log_every=3))
    assert told == (
        f'{config(data_dir="y").folder} is a new run: {nearest.path} differs in data_dir (unset there, "y" here), '
        "q (2 there, 0 here), optimizer.lr (0.2 there, 0.1 here)"
    )
    told = why_new(config(data_dir="y", p=9, batch_size=3))
    assert told.endswith(" and 2 more")
    (nearest.path / "config.toml").write_text("damaged =")
    assert str(nearest.path) not in why_new(config())


def test_a_run_that_a_secret_seed_makes_new_says_so(config):
    other = made(config(secret_seed=1))
    assert why_new(config()).endswith(f"{other.path} has another secret_seed, or is of another version")
