"""Every command in a code block of the documentation: run, or checked as far as one machine and a minute go."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import chdir
from itertools import chain
from pathlib import Path

import pytest

from detox.config import check
from detox.launch import commands
from detox.launch.sweep import configs
from detox.launch.train import parse

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ELSEWHERE = {
    "python -c 'from byzfl": "tests/launch/test_from_byzfl.py, with byzfl's own functions",
    "ln -s": "the shell's, then tests/experiments/test_simulation.py",
    "detox-ps keys": "tests/launch/test_listen.py",
    "detox-ps serve": "tests/launch/test_listen.py",
    "detox-ps join": "tests/launch/test_listen.py",
    "detox-ps plan": "tests/reports/test_plan.py",
    "detox-ps watch": "tests/reports/test_watch.py",
    "detox-ps verify": "tests/jobs/test_verify.py",
    "detox-ps list": "tests/commands/test_listing.py",
    "detox-ps new": "tests/commands/test_new.py",
    "detox-ps config": "tests/commands/test_config_command.py",
    "detox-ps completion": "tests/commands/test_completion.py",
    "detox-ps doctor": "tests/mpi/test_doctor.py",
    "launch/namespaces.sh": "tests/mpi/test_hosts.py",
    "sbatch": "tests/mpi/test_slurm.py",
    "bash -e": "tests/launch/test_sweep.py",
    "python -m experiments.simulation": "tests/experiments/test_simulation.py",
    "python -m experiments.byzshield": "tests/experiments/test_byzshield.py",
    "parallel": "tests/launch/test_sweep.py",
    "sed -n": "tests/launch/test_sweep.py",
    "bash launch/hostfile.sh": "tests/launch/test_hostfile.py",
    "bash .ci/run": "CI itself",
    "bash benchmarks/gpu.sh": "tests/launch/test_gpu_script.py",
    "bash launch/test.sh": "CI itself",
    "bash launch/demo.sh": "CI itself",
    ". .venv/bin/activate": "the shell's",
    "cd": "the shell's",
    "pcluster": "takes an account; launch/aws/validate.sh checks the file",
    "salloc": "takes a cluster",
}


def _commands():
    """Lines of code blocks without a language; of a block with a `$`, only lines that begin with it."""
    for page in PAGES:
        for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE):
            if language:
                continue
            lines = [line.strip() for line in block.splitlines() if line.strip()]
            if any(line.startswith("$ ") for line in lines):
                lines = [line[2:] for line in lines if line.startswith("$ ")]
            for line in lines:
                yield re.sub(r"\s{2,}#.*|\s+#\s.*", "", line)


COMMANDS = list(dict.fromkeys(_commands()))
LAUNCHES = [line for line in COMMANDS if line.startswith("detox-ps launch")]
EXAMPLES = [line for line in LAUNCHES if re.search(r" [a-z]+\.toml", line)]  # typed in their folder
SCRIPTS = [line for line in COMMANDS if line.startswith("bash experiments/")]
SWEEPS = [line for line in COMMANDS if line.startswith("detox-ps sweep")]
READERS = [
    line
    for line in COMMANDS
    if line.startswith(("detox-ps report", "detox-ps blame", "detox-ps evaluate", "detox-ps verify"))
]


def _option(words, name):
    """Takes an option and its value out of the words; the value, None if it is not there."""
    if name not in words:
        return None
    place = words.index(name)
    _, value = words.pop(place), words.pop(place)
    return value


def test_there_are_commands_and_each_is_looked_at_somewhere():
    assert len(LAUNCHES) > 5
    known = (*LAUNCHES, *SCRIPTS, *SWEEPS, *READERS, *ELSEWHERE)
    assert [line for line in COMMANDS if not line.startswith(known)] == []


@pytest.mark.parametrize("line", LAUNCHES)
def test_a_launch_has_a_config_that_can_be_run(line, monkeypatch):
    words = shlex.split(line)[2:]
    monkeypatch.chdir(ROOT / "examples" if line in EXAMPLES else ROOT)
    hostfile = _option(words, "--hostfile")
    assert hostfile in (None, "hosts") or Path(hostfile).is_file()
    _option(words, "-n")
    config, _ = parse(["experiments/digits.toml" if word == "CONFIG.toml" else word for word in words])
    check(config)


@pytest.mark.parametrize("line", SCRIPTS)
def test_a_script_has_a_grid_of_that_size_whose_runs_can_be_run(line):
    words = shlex.split(line)
    script, size = ROOT / words[1], words[2] if len(words) > 2 else "quick"
    assert script.is_file()
    if (hostfile := _option(words, "--hostfile")) is not None:
        assert (ROOT / hostfile).is_file()
    if "run.sh" in script.read_text():
        assert configs(str(ROOT / "experiments" / "grids" / f"{script.stem}-{size}.toml"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder with the experiments and examples, as in a checkout."""
    folder = tmp_path_factory.mktemp("documented")
    for name in ("experiments", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _call(line, folder, capsys):
    """What a command that starts no ranks prints in a folder; the globs are for a shell."""
    program, command, *words = shlex.split(line)
    assert program == "detox-ps"
    with chdir(folder):
        found = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words]
        assert commands.COMMANDS[command].run(command)(list(chain.from_iterable(found))) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("line", SWEEPS)
def test_a_sweep_prints_a_command_a_run(line, checkout, capsys):
    printed = _call(re.split(" >>? ", line)[0], checkout, capsys).splitlines()
    assert printed
    assert all(command.startswith("detox-ps launch ") for command in printed)


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # so many runs leave no room beside their names
def test_what_is_launched_on_digits_trains_and_what_reads_its_runs_can(checkout, here, capsys):
    pytest.importorskip("matplotlib")
    quick = ["--steps", "2", "--progress", "none"]
    (example,) = (line for line in EXAMPLES if "characters.toml" in line)
    ours = [line for line in LAUNCHES if "experiments/digits.toml" in line and "hosts" not in line]
    for line in [*ours, example]:
        folder, words = checkout / "examples" if line == example else checkout, shlex.split(line)
        n = int(_option(words, "-n"))
        # A rank that is killed has to be a process, as in tests/mpi/test_faults.py: here the end comes first.
        later = ["--fault.first", "3"] if "kill" in words else []
        job = here.train([*words[2:], *quick, *later], folder, n)
        assert (job.status, job.orderly, job.errors) == (0, True, {}), job.text
    newest = next(iter(checkout.glob("runs/digits-*"))).name
    for line in READERS:
        if "reversed-quick" not in line and "--byzfl" not in line:  # of other runs; tests/launch/test_from_byzfl.py
            _call(line.replace("digits-HASH", newest), checkout, capsys)


def test_an_experiments_script_makes_what_has_not_finished_and_a_report_of_all(checkout, here, capsys):
    pytest.importorskip("matplotlib")
    grid, values = checkout / "experiments" / "grids" / "tiny-quick.toml", "[grid]\nr = [1, 3]\n"
    values = 'base = "../digits.toml"\n[set]\nsteps = 2\nworkers_per_rank = 15\noutput = "runs/tiny-quick"\n' + values
    grid.write_text(values)
    first, _ = _call("detox-ps sweep experiments/grids/tiny-quick.toml", checkout, capsys).splitlines()
    assert here.train(shlex.split(first)[2:], checkout, 2).status == 0
    (finished,) = checkout.glob("runs/tiny-quick/*/done")
    made = finished.stat().st_mtime_ns
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def script(*arguments):
        line = ["bash", "experiments/run.sh", *arguments]
        return subprocess.run(line, cwd=checkout, env=environment, capture_output=True, text=True, check=False)

    done = script("tiny", "quick", "--progress", "none")
    assert done.returncode == 0, done.stdout + done.stderr
    assert finished.stat().st_mtime_ns == made
    both = list(checkout.glob("runs/tiny-quick/*/done"))
    assert len(both) == 2
    report = checkout / "runs" / "reports" / "tiny-quick" / "report.html"
    assert all(path.parent.name in report.read_text() for path in both)
    for arguments, words in (
        (["tiny", "huge"], "tiny has no size huge; there are: quick"),
        (["attack"], "attack has no size quick; there are:"),
    ):
        unknown = script(*arguments)
        assert unknown.returncode == 2
        assert words in unknown.stderr
