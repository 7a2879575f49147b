import json
import os
import signal
import subprocess
import sys
import time
from random import Random

import pytest

LONG = ("--steps", "300", "--log-every", "10", "--checkpoint-every", "50", "--transport.deadline", "5")


@pytest.fixture(scope="module")
def whole(here):
    """The summary of a run that nothing stopped."""
    return here.run(*LONG, n=2)


def test_the_ps_goes_on_without_a_worker_that_is_killed(jobs):
    job = jobs.start(*LONG, "--q", "0", "--workers-per-rank", "4", n=4)
    job.wait_for("step  20")
    os.kill(job.pid_of_rank(3), signal.SIGKILL)  # who has one worker, the last
    assert job.wait() == 0, job.text
    summary = jobs.summary(job)
    silent = [counts.get("silent", 0) for counts in summary["ledger"]]
    assert silent[8] > 100
    assert summary["votes"]["none"] == 0
    assert summary["dissents"] == {}
    assert summary["skipped_steps"] == 0


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


def test_a_run_whose_ps_is_killed_twice_and_then_told_to_end_resumes_bit_by_bit(jobs, whole):
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
    again = _again(job)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resumed after step" in again.stdout + again.stderr
    resumed = jobs.summary(job)
    assert resumed["weights_digest"] == whole["weights_digest"]
    assert resumed["dissents"] == whole["dissents"]
    assert resumed["votes"] == whole["votes"]
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 301))


def test_a_run_that_cannot_work_is_not_started_again(jobs):
    job = jobs.start("--optimizer.name", "Sgd", "--restarts", "5", n=2)
    assert job.wait() != 0
    assert "starting it again" not in job.text
    (status,) = job.folder.glob("runs/*/status.json")
    told = json.loads(status.read_text())
    assert told["status"] == "failed"
    assert "torch.optim has no Sgd" in told["why"]


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
