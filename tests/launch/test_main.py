"""The command itself, whatever the shell gives it: signals, closed pipes, folders, locales."""

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from detox.launch.commands import COMMANDS
from detox.launch.environment import folders
from detox.launch.main import run
from detox.launch.path import leave_current_folder_out

MODULES = ("json", "copy", "statistics", "token", "numbers", "random", "typing", "logging", "tomllib", "tempfile")


def _run(code, *argv, cwd=None, **environment):
    """A Python process that runs code and then the command with these arguments."""
    line = [sys.executable, "-P", "-c", f"{code}\nfrom detox.launch.main import main\nmain()", *argv]
    return subprocess.run(
        line, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )


# A signal comes while the command is imported, which is most of its first second.
EARLY = """
import importlib, os, sys, time
number = int(sys.argv.pop())
def import_module(name):
    os.kill(os.getpid(), number)
    time.sleep(60)
importlib.import_module = import_module
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", sorted(name for name, known in COMMANDS.items() if not known.of_ranks))
def test_a_signal_in_the_first_second_of_a_command_is_silent(command, number):
    done = _run(EARLY, command, str(int(number)))
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


RAISES = """
import importlib, types, sys
what = sys.argv.pop()
def import_module(name):
    def command(argv):
        exec(what)
        return 0
    return types.SimpleNamespace(plan=command)
importlib.import_module = import_module
"""


@pytest.mark.parametrize(
    ("act", "status", "words"),
    [
        ("from detox.aggregators import AggregatorError; raise AggregatorError('n is 2')", 2, "detox-ps: n is 2\n"),
        ("open('/nowhere/x')", 1, "detox-ps: /nowhere/x: No such file or directory\n"),
        ("raise BrokenPipeError(32, 'Broken pipe')", 141, ""),
        ("sys.exit(2)", 2, ""),
        ("sys.exit('so')", 1, "detox-ps: so\n"),
        ("sys.stdout.write('\\u00fc \\u2264'); sys.stderr.write('\\ud800\\n')", 0, "\\ud800\n"),
        ("raise MemoryError", 1, "detox-ps: MemoryError, in <string>:1\n"),
    ],
)
def test_what_a_command_raises_is_said_in_one_place_in_any_locale(act, status, words):
    done = _run(RAISES, "plan", act, LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stderr) == (status, words)


def test_a_pipe_whose_reader_is_gone_ends_a_command_without_a_word():
    line = [sys.executable, "-P", "-m", "detox.launch", "--help"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *line], stderr=subprocess.PIPE, check=False, timeout=60)
    assert (closed.returncode, closed.stderr) == (0, b"")


@pytest.mark.parametrize("options", [["-P"], []])
def test_modules_in_the_current_folder_take_nobodys_place(tmp_path, options):
    # Without -P Python itself looks into the current folder until the command begins.
    for name in (*MODULES, *("types", "inspect", "enum", "signal", "re") * bool(options)):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    (tmp_path / "detox" / "launch").mkdir(parents=True)
    if options:
        (tmp_path / "detox" / "launch" / "config.py").write_text("raise SystemExit('the wrong package')\n")
    line = [sys.executable, *options, "-m", "detox.launch", "sweep", "none.toml"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (2, "detox-ps: none.toml: No such file or directory\n")


def test_the_current_folder_is_left_out_of_the_path_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    path = ["", ".", str(tmp_path), f"{tmp_path}/", "link", "/usr/lib/x.zip", str(tmp_path / "other")]
    leave_current_folder_out(path)
    assert path == ["/usr/lib/x.zip", str(tmp_path / "other")]
    monkeypatch.chdir(Path(os.__file__).parent)
    path = [str(Path(os.__file__).parent)]
    leave_current_folder_out(path)
    assert path == [str(Path(os.__file__).parent)]


def test_folders_that_cannot_be_written_are_replaced_by_temporary_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    home = tmp_path / "home"
    home.mkdir()
    assert folders({"HOME": str(home)}) == {}
    assert Path(folders({})["HOME"]).is_dir()
    monkeypatch.setattr("os.access", lambda path, mode: str(path).startswith(str(tmp_path)) and path != home)
    found = folders({"HOME": str(home)})
    assert found.keys() == {"NUMBA_CACHE_DIR", "MPLCONFIGDIR"}
    for path in map(Path, found.values()):
        assert path.parent == tmp_path
        assert path.stat().st_mode & 0o777 == 0o700
    assert folders({"HOME": str(home), "MPLCONFIGDIR": "x", "NUMBA_CACHE_DIR": "y"}) == {}
    # Code is loaded from there, so another user's folder of that name is not taken.
    Path(found["NUMBA_CACHE_DIR"]).chmod(0o777)
    assert folders({"HOME": str(home)})["NUMBA_CACHE_DIR"] != found["NUMBA_CACHE_DIR"]


@pytest.mark.parametrize(("command", "words"), [("reprot", "; did you mean report?"), ("xyz", ""), ("--versoin", "")])
def test_a_command_that_does_not_exist_is_told_with_the_nearest_that_does(command, words, capsys):
    assert run(command, []) == 2
    assert capsys.readouterr().err.startswith(f"detox-ps: there is no command {command}{words}\n\ndetox-ps: an MPI")


HELP = """
import sys, time
class Heavy:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "sklearn", "matplotlib", "mpi4py"):
            raise SystemExit(f"{name} is imported")
sys.meta_path.insert(0, Heavy())
"""


def test_the_help_of_commands_waits_for_no_heavy_import_and_fits_a_narrow_terminal():
    commands = sorted(name for name, known in COMMANDS.items() if not known.of_ranks)
    code = f"{HELP}\nfrom detox.launch.main import run\nfor command in {commands}: assert run(command, ['--help']) == 0"
    done = _run(code, "--help", COLUMNS="20", LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("usage: ") == len(commands)


def test_the_version_is_that_of_the_installed_package():
    done = _run("", "--version")
    assert (done.returncode, done.stdout) == (0, f"detox-ps {version('detox-ps')}\n")
