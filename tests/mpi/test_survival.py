import json
import os
import signal
import subprocess
import sys
import time
from random import Random

import pytest

LONG = ("--steps", "300", "--log-every", "10", "--checkpoint-every", "50", "--transport.deadline", "5")


RESETS = """
import contextlib, os, socket, stat
from pathlib import Path
from torch import nn
from detox.tasks.classification import Classification
from detox.tasks.datasets import load_digits

def build(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))

class Resets(Classification):
    def __init__(self, *, device):
        super().__init__(load_digits(None), build, device)
        self.files = 0

    def loss(self, model, indices, generator):
        self.files += 1
        if os.environ.get("OMPI_COMM_WORLD_RANK") == "2" and self.files == 60 and not Path("reset").exists():
            Path("reset").touch()  # once
            for name in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):
                    if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                        stream = socket.socket(fileno=os.dup(int(name)))
                        port = "" if stream.family == socket.AF_UNIX else str(stream.getpeername()[1])
                        if port not in os.environ["PMIX_SERVER_URI41"]:  # that is mpirun's
                            stream.shutdown(socket.SHUT_RDWR)
        return super().loss(model, indices, generator)
"""


@pytest.fixture(scope="module")
def whole(here):
    """The summary of a run that nothing stopped."""
    return here.run(*LONG, n=2)


def _is_interrupted(job, number):
    """Sends a signal to the launcher: no process is left, but a checkpoint is; the run's folder."""
    job.process.send_signal(number)
    assert job.wait() == 128 + number, job.text
    end = time.monotonic() + 20
    while job.processes() and time.monotonic() < end:
        time.sleep(0.1)
    assert not job.processes()
    assert "Traceback" not in job.text
    (folder,) = job.folder.glob("runs/run-*")
    assert json.loads((folder / "status.json").read_text())["status"] == "interrupted"
    newest = max((folder / "checkpoints").glob("*.pt")).name
    assert f"interrupted after step {int(newest.split('-')[1])}" in job.text
    return folder


def _again(job):
    line = [sys.executable, "-m", "detox.launch", "launch", "-n", "2", "run.toml", *LONG]
    return subprocess.run(line, cwd=job.folder, capture_output=True, text=True, check=False, timeout=240)


def test_a_run_whose_ps_is_killed_twice_and_then_told_to_end_resumes_bit_by_bit(jobs, here, whole):
    job = jobs.start(*LONG, "--restarts", "9", n=2)
    random = Random(5)
    for count in (1, 2):
        job.wait_for(" on 1 host", count)  # the start is over, and steps begin
        time.sleep(random.uniform(0, 1.2))
        os.kill(job.pid_of_rank(0), signal.SIGKILL)
        job.wait_for("starting it again", count)
    job.wait_for(" on 1 host", 3)
    job.wait_for("\nstep ", job.text.count("\nstep ") + 1)
    folder = _is_interrupted(job, signal.SIGTERM)
    again = here.start(*LONG, n=2, folder=job.folder)
    assert again.status == 0, again.text
    assert "resumed after step" in again.text
    resumed = again.summary
    assert resumed["weights_digest"] == whole["weights_digest"]
    assert resumed["dissents"] == whole["dissents"]
    assert resumed["votes"] == whole["votes"]
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 301))


def test_connections_of_mpi_that_are_reset_do_not_end_a_run(jobs, here, tmp_path):
    (tmp_path / "resets.py").write_text(RESETS)
    options = ("--task", "resets:Resets", "--model", "None", "--steps", "40", "--checkpoint-every", "5")
    files = (tmp_path / "resets.py",)
    job = jobs.start(*options, files=files)
    assert job.wait() == 0, job.text
    assert (job.folder / "reset").exists()
    assert jobs.summary(job)["weights_digest"] == here.run(*options, files=files)["weights_digest"]
    assert job.text.count("starting it again, for it has made") == 1


def test_a_job_keeps_others_out_of_its_folder_and_leaves_a_checkpoint_on_ctrl_c(jobs, here, whole):
    job = jobs.start(*LONG, n=2)
    job.wait_for("step  20")
    second = _again(job)
    assert second.returncode == 2
    assert f": process {job.pid_of_rank(0)} on host" in second.stderr
    folder = _is_interrupted(job, signal.SIGINT)
    again = here.start(*LONG, n=2, folder=job.folder)
    assert again.status == 0, again.text
    assert "resumed after step" in again.text
    assert jobs.summary(job)["weights_digest"] == whole["weights_digest"]
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"
