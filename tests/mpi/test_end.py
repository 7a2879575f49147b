"""However a rank, the PS or the launcher ends, all of the job ends soon, and says why in a sentence."""

import os
import signal
import time
from pathlib import Path

import pytest

from detox.launch.mpirun import find_mpirun

ENDS = """
import os, signal, sys
from mpi4py import MPI
from torch import nn
from detox.tasks.classification import Classification
from detox.tasks.datasets import load_digits


def build(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


class Ends(Classification):
    def __init__(self, *, device):
        rank = MPI.COMM_WORLD.rank
        {act}
        super().__init__(load_digits(None), build, device)
"""
TASK = ("--task", "ends:Ends", "--model", "None")


def _start(jobs, folder, act, *options):
    path = folder / "ends.py"
    path.write_text(ENDS.format(act=act))
    return jobs.start(*TASK, *options, files=(path,))


def _is_over(job):
    end = time.monotonic() + 20
    while job.processes() and time.monotonic() < end:
        time.sleep(0.1)
    return not job.processes()


@pytest.mark.parametrize(
    ("act", "status", "words"),
    [
        # Three ranks, for mpirun does not end so small a job by itself when one of them fails.
        ("rank or open('/nowhere/data')", 2, "No such file or directory: '/nowhere/data', in {folder}/ends.py:16"),
        (
            "rank != 2 or MPI.Finalize()",
            2,
            "rank 2 on {host}: task ends:Ends: Ends(device=...) failed with RuntimeError",
        ),
        # The launcher would wait for the rank that hangs, and nobody else is left to end it.
        ("os.kill(os.getpid(), signal.SIGSTOP if rank else signal.SIGKILL)", 1, "gone without a word"),
    ],
)
def test_whatever_happens_at_the_start_ends_the_job_in_a_sentence(
    plain_jobs, tmp_path, monkeypatch, act, status, words
):
    monkeypatch.setenv("PATH", str(Path(find_mpirun()).parent))  # in which there need be nothing else
    job = _start(plain_jobs, tmp_path, act, *(("--restarts", "3") * (status == 2)))
    assert job.wait() == status, job.text
    assert job.text.count(words.format(folder=job.folder, host=os.uname().nodename)) == 1, job.text
    assert "Traceback" not in job.text
    assert "starting it again" not in job.text
    assert "the same command resumes it" not in job.text
    assert ("the same command starts it anew, for it has no checkpoint yet" in job.text) == (status == 1)
    assert _is_over(job)


def test_a_job_ends_with_its_launcher_even_where_that_is_killed(jobs):
    job = jobs.start("--steps", "100000", "--eval-every", "100000", n=2)
    job.wait_for("step  ")
    os.kill(job.process.pid, signal.SIGKILL)
    assert _is_over(job)
