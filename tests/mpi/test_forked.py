"""Ranks that are forked, as those of most jobs here are, are ranks like others; see tests/forked/server.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

OPTIONS = ("--checkpoint-every", "5", "--log-every", "5")
# Any command ends a process as a rank would end it.
COMMAND = [sys.executable, "-P", "-m", "detox.launch"]


def _ledger(job):
    """Its lines, which come as answers do within a step; who is examined is a matter of time."""
    (path,) = job.folder.glob("runs/*/ledger.jsonl")
    return sorted(line for line in path.read_text().splitlines() if json.loads(line)["kind"] != "examined")


def test_forked_ranks_make_the_weights_and_the_ledger_of_plainly_started_ones(
    jobs, forks, here, baseline_job, baseline
):
    here.run("--steps", "1", n=2)  # what that leaves in the environment is no reason to start the plain way
    job = jobs.start(*OPTIONS)
    job.wait_for("ranks on")
    parents = {Path(f"/proc/{job.pid_of_rank(rank)}/stat").read_text().split(") ")[1].split()[1] for rank in range(3)}
    assert job.wait() == 0, job.text
    assert parents == {str(forks.pid)}
    assert jobs.summary(job)["weights_digest"] == baseline["weights_digest"]
    assert _ledger(job) == _ledger(baseline_job)


def _rank(*arguments, **variables):
    environment = {**os.environ, "OMPI_COMM_WORLD_RANK": "0", **variables}
    return subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["--version"], ["no-command"], ["list", "rules"]])
def test_a_forked_process_says_and_returns_what_another_does(forks, arguments):
    forked, plain = _rank(*arguments, **forks.variables), _rank(*arguments)
    assert (forked.returncode, forked.stdout, forked.stderr) == (plain.returncode, plain.stdout, plain.stderr)


def test_without_the_process_that_forks_them_ranks_start_all_the_same(forks):
    gone = forks.variables | {"DETOX_TESTS_FORK": "nobody-listens"}
    assert _rank("--version", **gone).stdout == _rank("--version").stdout != ""


def test_another_user_of_the_machine_is_told_nothing(forks):
    if os.getuid():
        pytest.skip("takes root, to be somebody else")
    dial = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(chr(0) + sys.argv[1]); print(s.recv(1))"
    name = forks.variables["DETOX_TESTS_FORK"]
    for user, told in ((None, b"["), (65534, b"")):
        line = ["python3", "-S", "-c", dial, name]
        done = subprocess.run(line, user=user, cwd="/", capture_output=True, text=True, check=True)
        assert done.stdout == f"{told!r}\n"
