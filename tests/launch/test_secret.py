"""The secret seed goes from the command line to the parameter server by a file, and nowhere else."""

import json
import stat

import pytest

from detox.config import Config, ConfigError, read_config
from detox.launch.launcher import launch
from detox.launch.secret import hide, without
from detox.launch.train import parse
from detox.ps.folder import RunFolder

SECRET = 982451653


@pytest.mark.parametrize(
    "words",
    [
        ["--secret-seed", str(SECRET)],
        [f"--secret-seed={SECRET}"],
        ["--secret_seed", str(SECRET)],
        ["--seed", "3", "--secret-seed", str(SECRET), "--q", "0"],
        [f"--secret_seed={SECRET}", "--no-resume"],
    ],
)
def test_the_ranks_arguments_name_a_file_that_only_its_owner_reads(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text("p = 15\n")
    config, _ = parse(["run.toml", *words])
    folder = RunFolder(config.folder)
    hidden = hide(["run.toml", *words], config, folder)
    assert str(SECRET) not in " ".join(hidden)
    path = folder.path / "secret_seed"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (f"{SECRET}\n", 0o600)
    again, _ = parse(hidden)
    assert (again, again.folder) == (config, config.folder)


def test_what_is_no_secret_of_the_command_line_stays(tmp_path):
    config = Config(secret_seed=5)
    for words in (["run.toml", "--seed", "5"], ["run.toml", "--secret-seed-file", "x"]):
        assert hide(words, config, RunFolder(tmp_path)) == words
    assert hide(["run.toml", "--secret-seed", "None"], Config(), RunFolder(tmp_path))[1:] == ["--secret-seed", "None"]
    assert without(["--secret-seed", "--secret-seed", "--q", "1"]) == ["--q", "1"]
    assert not list(tmp_path.iterdir())


def test_no_other_file_of_the_run_and_no_message_has_the_secret(tmp_path):
    config = Config(secret_seed=SECRET, output=str(tmp_path))
    folder = RunFolder(config.folder)
    folder.create(config.toml())
    assert str(SECRET) not in (folder.path / "config.toml").read_text()
    assert str(SECRET) in config.toml(secret=True)
    read_config(str(folder.path / "config.toml"), [])


def test_mpirun_is_started_without_the_secret(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text("p = 15\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    fake = tmp_path / "mpirun"
    fake.write_text('#!/bin/sh\necho "$@" > $(/usr/bin/dirname $0)/ran\n')
    fake.chmod(0o755)
    monkeypatch.setattr("detox.launch.mpirun.find_mpirun", lambda: str(fake))
    launch(["-n", "3", "run.toml", "--secret-seed", str(SECRET)])
    ran = (tmp_path / "ran").read_text()
    assert "--secret-seed-file" in ran
    assert str(SECRET) not in ran + json.dumps(capsys.readouterr())


@pytest.mark.parametrize("content", [None, "", "seven"])
def test_a_file_without_a_seed_is_told(tmp_path, content):
    (tmp_path / "run.toml").write_text("p = 15\n")
    path = tmp_path / "seed"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"--secret-seed-file .*seed: "):
        parse([str(tmp_path / "run.toml"), "--secret-seed-file", str(path)])
    path.write_text("5")
    with pytest.raises(ConfigError, match="one of them"):
        parse([str(tmp_path / "run.toml"), "--secret-seed-file", str(path), "--secret-seed", "5"])
