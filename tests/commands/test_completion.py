"""`detox-ps completion`: real shells complete commands, options, and fields of the config."""

import shutil
import subprocess

import pytest
import shtab

from detox.launch.commands import COMMANDS
from detox.launch.completion import command_line, completion

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_detox_ps
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "detox-ps"
    path.write_text(shtab.complete(command_line(), "bash"))
    return path


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("la", ["launch"]),
        ("co", ["config", "completion"]),
        ("list ru", ["rules"]),
        ("launch --attack.ki", ["--attack.kind"]),
        ("launch --attack.kind mi", ["min_max", "min_sum", "mimic"]),
        ("launch --hostf", ["--hostfile"]),
        ("config --show x.toml --quarantine.policy re", ["recompute"]),
        ("blame --j", ["--json"]),
    ],
)
def test_bash_completes_what_is_typed(script, typed, words):
    line = ["bash", "--norc", "-c", COMPLETE, "bash", str(script), "detox-ps", *typed.split()]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert sorted(done.stdout.split()) == sorted(words)


def test_every_command_that_a_user_types_is_completed(script):
    line = ["bash", "--norc", "-c", COMPLETE, "bash", str(script), "detox-ps", ""]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert {name for name, command in COMMANDS.items() if not command.hidden} <= set(done.stdout.split())
    assert "examine" not in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh", "fish"])
def test_each_shell_gets_a_script_that_it_can_read(shell, capsys, tmp_path):
    assert completion([shell]) == 0
    path = tmp_path / "script"
    path.write_text(capsys.readouterr().out)
    assert "attack.kind" in path.read_text() or shell == "tcsh"
    if shell != "tcsh" and (found := shutil.which(shell)):
        subprocess.run([found, "-n", str(path)], check=True, timeout=60)
