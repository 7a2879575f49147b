"""Several servers over MPI: real ranks have the weights of one server, and a lost one ends the run, which resumes."""

import os
import signal
import time
from pathlib import Path

WIDE = Path(__file__).parents[1] / "jobs" / "wide.py"
# Six votes: the sums over five blocks are too long for MPI to send them at once, and shorter messages overtake them.
CONFIG = """
task = "wide:Wide"
p = 18
batch_size = 1
share_compute = true
steps = 8
checkpoint_every = 2
secret_seed = 3

[aggregator]
pre = ["nnm"]
"""


def test_a_job_that_loses_a_server_resumes_to_the_weights_of_one_server(jobs, here, tmp_path):
    (jobs.folder / "run.toml").write_text(CONFIG)
    job = jobs.start("--servers", "2", "--restarts", "1", n=3, files=(WIDE,))
    while job.process.poll() is None and not list(job.folder.glob("runs/*/checkpoints/*.pt")):
        time.sleep(0.02)
    os.kill(job.pid_of_rank(1), signal.SIGKILL)
    assert job.wait() == 0, job.text
    assert "server 1 is lost" in job.text
    assert "resumed after step" in job.text
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "run.toml").write_text(CONFIG)
    one = here.start(folder=alone, n=2, files=(WIDE,))
    assert jobs.summary(job)["weights_digest"] == one.summary["weights_digest"]
