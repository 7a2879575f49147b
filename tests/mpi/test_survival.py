import json
import os
import signal
import subprocess
import sys
import time
from random import Random

import pytest

LONG = ("--steps", "400", "--log-every", "10", "--checkpoint-every", "50", "--transport.deadline", "5")


@pytest.fixture(scope="module")
def whole(here):
    """The summary of a run that nothing stopped."""
    return here.run(*LONG, n=2)


def test_the_ps_goes_on_without_a_worker_that_is_killed(jobs):
    job = jobs.start(*LONG, "--q", "0", "--workers-per-rank", "4", n=4)
    job.wait_for("step  50")
    os.kill(job.pid_of_rank(3), signal.SIGKILL)  # who has one worker, the last
    assert job.wait() == 0, job.text
    summary = jobs.summary(job)
    silent = [counts.get("silent", 0) for counts in summary["ledger"]]
    assert silent[8] > 100
    assert summary["votes"]["none"] == 0
    assert summary["dissents"] == {}
    assert summary["skipped_steps"] == 0


def test_a_run_whose_ps_is_killed_again_and_again_resumes_to_the_same_bits(jobs, whole):
    job = jobs.start(*LONG, "--restarts", "9", n=2)
    random = Random(5)
    for count in (1, 2):
        job.wait_for(" on 1 host", count)  # the start is over, and steps begin
        time.sleep(random.uniform(0, 1.2))
        os.kill(job.pid_of_rank(0), signal.SIGKILL)
        job.wait_for("starting it again", count)
    assert job.wait() == 0, job.text
    resumed = jobs.summary(job)
    assert resumed["weights_digest"] == whole["weights_digest"]
    assert resumed["dissents"] == whole["dissents"]
    assert resumed["votes"] == whole["votes"]
    (folder,) = job.folder.glob("runs/run-*")
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 401))


def test_a_run_that_cannot_work_is_not_started_again(jobs):
    job = jobs.start("--optimizer.name", "Sgd", "--restarts", "5", n=2)
    assert job.wait() != 0
    assert "starting it again" not in job.text
    (status,) = job.folder.glob("runs/*/status.json")
    told = json.loads(status.read_text())
    assert told["status"] == "failed"
    assert "torch.optim has no Sgd" in told["why"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_is_told_to_end_leaves_a_checkpoint_and_no_process_behind(jobs, here, whole, number):
    job = jobs.start(*LONG, n=2)
    job.wait_for("step  70")
    line = [sys.executable, "-m", "detox.launch", "launch", "-n", "2", "run.toml", *LONG]
    if number == signal.SIGINT:
        second = subprocess.run(line, cwd=job.folder, capture_output=True, text=True, check=False, timeout=240)
        assert second.returncode == 2
        assert f": process {job.pid_of_rank(0)} on host" in second.stderr
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
    if number == signal.SIGINT:
        again = here.start(*LONG, n=2, folder=job.folder)
        status, said = again.status, again.text
    else:
        again = subprocess.run(line, cwd=job.folder, capture_output=True, text=True, check=False, timeout=240)
        status, said = again.returncode, again.stdout + again.stderr
    assert status == 0, said
    assert "resumed after step" in said
    assert jobs.summary(job)["weights_digest"] == whole["weights_digest"]
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"
