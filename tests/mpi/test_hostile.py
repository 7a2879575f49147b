"""Ranks of workers that do not run our code: rank 2 sends what it likes besides the truth."""

import json
import sys

import pytest

from detox.launch.mpirun import mpirun_line
from detox.wire import Kind

HOSTILE = """
import os
import numpy as np
from detox.launch import environment
environment.apply()
from detox.wire import Header, Kind
from detox.wire.transport import MPI, world
from detox.worker import host

honest_submit, sent = host.WorkerRank._submit, []

def raw(tag, content):
    content = np.frombuffer(bytes(content), np.uint8)
    sent.append((content, world().Isend([content, MPI.BYTE], dest=0, tag=tag)))

def message(kind, header, payload=b"", **changes):
    fields = dict(step=header.step, worker=header.worker, file=header.file) | changes
    return Header(kind, **fields).pack(len(payload)) + payload

def submit(self, header, work, vector):
    lie = bytes(32)
    raw(Kind.CLAIM, b"")
    raw(Kind.CLAIM, os.urandom(64))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, lie)[:-1])
    raw(Kind.CLAIM, message(Kind.CLAIM, header, lie[1:]))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, lie, worker=0))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, lie, worker=2**32 - 1))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, lie, file=header.file + 1))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, lie, step=header.step + 1000))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, lie, step=2**32 - 1))
    raw(Kind.GRADIENT, message(Kind.CLAIM, header, lie))
    raw(Kind.GRADIENT, message(Kind.GRADIENT, header, os.urandom(300)))
    raw(Kind.GRADIENT, bytes(2_000_000))
    raw(Kind.QUIT, message(Kind.QUIT, header))
    raw(Kind.BYE, message(Kind.BYE, header))
    raw(77, os.urandom(5000))
    honest_submit(self, header, work, vector)
    raw(Kind.CLAIM, message(Kind.CLAIM, header, lie))

host.WorkerRank._submit = submit
from detox.launch.main import main
main()
"""


def test_messages_that_are_none_change_no_bit_and_are_noted(jobs, baseline):
    train = ["train", "run.toml"]
    line = mpirun_line(2, None, [sys.executable, "-m", "detox.launch", *train])
    job = jobs.start_line([*line, ":", "-n", "1", sys.executable, "-c", HOSTILE, *train])
    job.wait()
    summary = jobs.summary(job)
    assert summary["weights_digest"] == baseline["weights_digest"], job.text
    assert summary["votes"] == baseline["votes"]
    assert summary["dissents"] == baseline["dissents"]
    (ledger,) = job.folder.glob("runs/*/ledger.jsonl")
    malformed = [e for e in map(json.loads, ledger.read_text().splitlines()) if e["kind"] == "malformed"]
    assert malformed
    assert {entry["rank"] for entry in malformed} == {2}
    details = " ".join(entry.get("detail", "") for entry in malformed)
    assert "of which nothing so long is expected" in details


STEP_FIVE = """
import time
from detox.worker import host

compute = host.WorkerRank._compute

def hostile(self, header, work):
    if header.step == 5:
        {act}
    compute(self, header, work)

host.WorkerRank._compute = hostile
from detox.launch.main import main
main()
"""
STALL = """
        import numpy as np
        from detox.wire.transport import MPI, world
        huge = np.zeros(50_000_000, np.uint8)
        kept = world().Isend([huge, MPI.BYTE], dest=0, tag={tag})
        time.sleep(600)
"""


@pytest.mark.parametrize(
    ("act", "words"),
    [
        ("raise ValueError('the disk is gone')", "the disk is gone"),
        (STALL.format(tag=77), ""),  # half a message of an unknown kind, too long, and nothing more
        (STALL.format(tag=Kind.CLAIM.value), ""),  # the same as a claim
    ],
)
def test_a_rank_that_breaks_down_is_done_without(jobs, act, words):
    train = ["train", "run.toml", "--q", "0", "--workers-per-rank", "4", "--transport.deadline", "3"]
    line = mpirun_line(3, None, [sys.executable, "-m", "detox.launch", *train])
    job = jobs.start_line([*line, ":", "-n", "1", sys.executable, "-c", STEP_FIVE.format(act=act), *train])
    job.wait()
    summary = jobs.summary(job)
    assert summary["steps"] == 20
    assert summary["skipped_steps"] == 0
    assert summary["ledger"][8]["silent"] == 16
    assert words in job.text
    assert not job.processes()


LINGERS = """
import time
from detox.wire import transport

transport.leave = lambda status, orderly: time.sleep(600)
from detox.launch.main import main
main()
"""


def test_a_rank_that_says_goodbye_and_stays_cannot_keep_the_job_alive(jobs):
    train = ["train", "run.toml", "--q", "0"]
    line = mpirun_line(2, None, [sys.executable, "-m", "detox.launch", *train])
    job = jobs.start_line([*line, ":", "-n", "1", sys.executable, "-c", LINGERS, *train])
    job.wait()
    assert jobs.summary(job)["steps"] == 20
    assert not job.processes()
