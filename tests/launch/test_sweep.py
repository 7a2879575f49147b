import contextlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from detox.config import read_config
from detox.launch import main
from detox.launch.provenance import facts_of
from detox.launch.sweep import configs, sweep
from detox.ps.folder import RunFolder
from detox.tasks import create_task

BASE = """
p = 9
q = 2
steps = 5
[aggregator]
name = "median"
[optimizer]
lr = 0.5
"""
GRID = """
base = "base.toml"
[set]
steps = 7
attack.kind = "alie"
[grid]
seed = [0, 1]
optimizer.lr = [0.1, 0.2, 0.3]
[[case]]
name = "detox"
[[case]]
name = "vanilla"
r = 1
aggregator.name = "krum"
"""


@pytest.fixture
def grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.toml").write_text(BASE)
    path = tmp_path / "tried.toml"
    path.write_text(GRID)
    return path


def test_every_case_meets_every_combination_on_top_of_the_base(grid):
    found = configs(str(grid))
    assert [(c.name, c.seed, c.optimizer.lr) for c in found] == [
        (name, seed, lr) for name in ("detox", "vanilla") for seed in (0, 1) for lr in (0.1, 0.2, 0.3)
    ]
    assert {(c.p, c.q, c.steps, c.attack.kind, c.output) for c in found} == {(9, 2, 7, "alie", "runs/tried")}
    assert {(c.name, c.r, c.aggregator.name) for c in found} == {("detox", 3, "median"), ("vanilla", 1, "krum")}


def test_seeds_give_every_combination_other_weights_other_attackers_and_other_groups(grid):
    grid.write_text("seeds = [3, 5]\n" + GRID.replace("seed = [0, 1]\n", ""))
    found = configs(str(grid))
    assert [(c.name, c.optimizer.lr, c.seed) for c in found] == [
        (name, lr, seed) for name in ("detox", "vanilla") for lr in (0.1, 0.2, 0.3) for seed in (3, 5)
    ]
    assert all(c.attack.seed == c.secret_seed == c.seed for c in found)


def test_each_line_is_a_command_of_its_own_with_a_config_that_is_the_run(grid, capsys):
    assert sweep([str(grid), "-n", "3", "--hostfile", "my hosts"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    for line, config in zip(lines, configs(str(grid)), strict=True):
        *command, path = shlex.split(line)
        assert command == ["detox-ps", "launch", "-n", "3", "--hostfile", "my hosts"]
        assert read_config(path, []) == config
        assert path == str(config.folder) + ".toml"


def test_what_has_finished_can_be_left_out(grid, capsys):
    config = configs(str(grid))[3]
    folder = RunFolder(config.folder)
    folder.create("")
    folder.write_provenance(facts_of(config, create_task(config.task)))
    folder.finish({})
    assert sweep([str(grid), "--todo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert not any(folder.path.name in line for line in lines)


@pytest.mark.parametrize(
    ("option", "status", "left"), [([], 2, 11), (["--accept-changes"], 0, 11), (["--no-resume"], 0, 12)]
)
def test_what_has_finished_and_would_be_another_run_now_is_told(grid, capsys, option, status, left):
    config = configs(str(grid))[3]
    folder = RunFolder(config.folder)
    folder.create("")
    folder.write_provenance({**facts_of(config, create_task(config.task)), "data": "0"})
    folder.finish({})
    assert sweep([str(grid), "--todo", *option]) == status
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == left
    assert ("data: was 0, is now" in printed.err) == (not option)


@pytest.fixture
def shell(grid, capsys, tmp_path):
    """Runs a line of docs/experiments.md over the grid's commands; gives the configs that detox-ps was started with."""
    sweep([str(grid)])
    (tmp_path / "commands").write_text(capsys.readouterr().out)
    fake = tmp_path / "detox-ps"
    fake.write_text('#!/bin/sh\necho "$2" >> ran\n[ ! -e broken ] || ! grep -q "$2" broken\n')
    fake.chmod(0o755)

    def _shell(start, **environment):
        (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith(start)]
        (tmp_path / "ran").unlink(missing_ok=True)
        environment["PATH"] = f"{tmp_path}:/bin:/usr/bin"
        subprocess.run(["bash", "-c", line], env=environment, check=False, capture_output=True)
        return (tmp_path / "ran").read_text().split()

    return _shell


PAGE = Path(__file__).parents[2] / "docs" / "experiments.md"


def test_a_plain_loop_runs_the_lines_one_by_one(grid, shell):
    assert shell("bash -e commands") == [f"{config.folder}.toml" for config in configs(str(grid))]


def test_an_array_of_jobs_runs_a_line_each(grid, shell):
    assert shell("sed -n", SLURM_ARRAY_TASK_ID="5") == [f"{configs(str(grid))[4].folder}.toml"]


@pytest.mark.skipif(shutil.which("parallel") is None, reason="no GNU parallel")
def test_gnu_parallel_runs_again_only_what_failed(grid, shell, tmp_path):
    paths = [f"{config.folder}.toml" for config in configs(str(grid))]
    (tmp_path / "broken").write_text(f"{paths[2]}\n{paths[7]}\n")
    assert shell("parallel", HOME=str(tmp_path)) == paths
    (tmp_path / "broken").unlink()
    assert shell("parallel", HOME=str(tmp_path)) == [paths[2], paths[7]]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed = [0, 1]", "seed = [0, 0]", "the same as another run"),
        ("seed = [0, 1]", "seed = 0", "grid.seed: a list of values is needed, got 0"),
        ("seed = [0, 1]", "sed = [0, 1]", "sed: there is no such field"),
        ("[set]", "seeds = [0, 1]\n[set]", "grid.seed: seeds sets it already; leave one of them out"),
        (
            GRID[GRID.index("[set]") : GRID.index("optimizer")],
            "seeds = [0]\n[set]\nseed = 3\n[grid]\n",
            "set.seed: seeds sets",
        ),
        ("[set]", "seeds = [-1]\n[set]", "seeds.0: Input should be greater than or equal to 0, got -1"),
        ("r = 1", "r = 2", "vanilla, seed = 0, optimizer.lr = 0.1: r = 2 is even"),
        ('base = "base.toml"', "", "tried.toml: base is missing"),
        ('base = "base.toml"', 'base = "nowhere.toml"', "nowhere.toml: No such file"),
        ("[set]", "[sets]", "sets: there is no such field; did you mean set"),
        ("seed = [0, 1]", "sead = [0, 1]", "sead: there is no such field; did you mean seed"),
        ("seed = [0, 1]", "seed = []", "grid.seed: a list of values is needed, got []"),
        ("seed = [0, 1]", "seed = [0, nan]", "seed: Input should be a valid integer, got nan"),
        ("seed = [0, 1]", "seed = [0, true]", "seed: Input should be a valid integer, got True"),
        ("seed = [0, 1]", "attack = [{kind = 3}]", "attack.kind: "),
        ('name = "detox"', 'name = "../detox"', "name: "),
        ("optimizer.lr = [0.1, 0.2, 0.3]", "optimizer = [0.1]", "optimizer is a section, [optimizer], got 0.1"),
        ('attack.kind = "alie"', 'attack = "alie"', "attack is a section, [attack], got 'alie'"),
        ("[grid]\n", f"[grid]\np = {[9] * 5000}\n", "a grid has at most 10000"),
        ('base = "base.toml"', "base = 3", "base: "),
        ('base = "base.toml"', 'base = "."', "is no file"),
        ('base = "base.toml"', 'base = "tried.toml"', "base: there is no such field"),
        ('base = "base.toml"', "\0", "not TOML"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(grid, capsys, old, new, words):
    grid.write_text(GRID.replace(old, new))
    assert main.run("sweep", [str(grid)]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.out == ""
    assert not (grid.parent / "runs").exists()


@pytest.mark.parametrize(
    "words",
    [["-n", "0"], ["-n", "-1"], ["-n", "1"], ["-n", "x"], ["--restarts", "-1"], ["--steps", "5"], ["other.toml"],
     ["--progress", "loud"]],
)  # fmt: skip
def test_what_every_launch_would_refuse_is_refused_once(grid, capsys, words):
    with contextlib.suppress(SystemExit):
        assert main.run("sweep", [str(grid), *words]) == 2
    printed = capsys.readouterr()
    assert words[0] in printed.err
    assert printed.out == ""
    assert not (grid.parent / "runs").exists()


EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("grids/*.toml")), ids=lambda path: path.name)
def test_every_run_of_the_experiments_can_be_run(path):
    assert configs(str(path))


def test_every_script_of_a_grid_has_it_in_a_quick_and_in_the_papers_size():
    scripts = [path for path in EXPERIMENTS.glob("*.sh") if "run.sh" in path.read_text() and path.name != "run.sh"]
    assert scripts
    grids = {path.name for path in EXPERIMENTS.glob("grids/*.toml")}
    for script in scripts:
        assert {f"{script.stem}-quick.toml", f"{script.stem}-full.toml"} <= grids
