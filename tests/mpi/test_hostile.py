"""Ranks of workers that do not run our code alone: they send what they like, stall, or stay."""

import json
import sys
import time

from detox.launch.mpirun import mpirun_line
from detox.wire import Kind

RANK = """
import os, sys, time
import numpy as np
from detox.launch import environment
environment.apply()
environment.fix_torch()
from detox.launch.work import work
from detox.wire import Header, Kind, Session
from detox.wire.job import MPI, abort, world
from detox.wire.transport import Transport

sent = []

def raw(tag, content):
    content = np.frombuffer(bytes(content), np.uint8)
    sent.append((content, world().Isend([content, MPI.BYTE], dest=0, tag=tag)))

class Hostile(Transport):
    def send(self, peers, header, payload=b""):
        if header.kind == Kind.CLAIM and header.step:
            act(header)
        super().send(peers, header, payload)
{act}
work(Session(Hostile(world(), [0])), world().rank, abort)
time.sleep(600)
"""
MESSAGES = """
def message(kind, header, payload=b"", **changes):
    fields = dict(step=header.step, worker=header.worker, file=header.file) | changes
    return Header(kind, **fields).pack(len(payload)) + payload

def act(header):
    if header.step == 1:
        try:
            MPI.COMM_SELF.Spawn(sys.executable, ["-c", "open('spawned', 'w')"])
        except MPI.Exception:
            pass
    wrong = bytes(32)
    raw(Kind.CLAIM, b"")
    raw(Kind.CLAIM, os.urandom(64))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, wrong)[:-1])
    raw(Kind.CLAIM, message(Kind.CLAIM, header, wrong[1:]))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, wrong, worker=0))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, wrong, worker=2**32 - 1))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, wrong, file=header.file + 1))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, wrong, step=header.step + 1000))
    raw(Kind.CLAIM, message(Kind.CLAIM, header, wrong, step=2**32 - 1))
    raw(Kind.GRADIENT, message(Kind.CLAIM, header, wrong))
    raw(Kind.GRADIENT, message(Kind.GRADIENT, header, os.urandom(300)))
    raw(Kind.GRADIENT, bytes(2_000_000))
    raw(Kind.EVIDENCE, message(Kind.EVIDENCE, header, os.urandom(300)))
    raw(Kind.EVIDENCE, bytes(20_000_000))
    raw(Kind.EXAMINE, message(Kind.EXAMINE, header, os.urandom(40)))
    raw(Kind.QUIT, message(Kind.QUIT, header))
    raw(Kind.BYE, message(Kind.BYE, header))
    raw(77, os.urandom(5000))
"""
STALL = """
def act(header):
    if header.step == 5:
        raw({tag}, bytes(50_000_000))  # half of it, and nothing more
        time.sleep(600)
"""
FLOOD = """
def act(header):
    # To another rank of workers, each short enough to be sent before it is asked for.
    sent.append([world().Isend([content, MPI.BYTE], dest=1, tag=3) for content in [bytes(900)] * 5_000])
"""
COLLECTIVES = """
def act(header):
    # Of ranks that never take part in them, and have to keep what comes.
    if header.step == 5 and not sent:
        for root in (0, 1):
            frame = np.zeros(900, np.uint8)
            sent.append([frame, *(world().Igather(frame, None, root=root) for _ in range(50_000))])
"""


BREAKS = """
from mpi4py import MPI
from torch import nn
from detox.tasks.classification import Classification
from detox.tasks.datasets import load_digits


def build(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


class Breaks(Classification):
    def __init__(self, *, device):
        super().__init__(load_digits(None), build, device)
        self.files = 0

    def loss(self, model, indices, generator):
        self.files += 1
        if MPI.COMM_WORLD.rank == 2 and self.files == 6:  # the first is the self-test's
            raise ValueError("the disk is gone")
        return super().loss(model, indices, generator)
"""


def _line(train, *acts):
    """mpirun's line: the PS and rank 1; then, for each act, a rank that is hostile, or ours where it is None."""
    line = mpirun_line(2, None, [sys.executable, "-m", "detox.launch", *train])
    for act in acts:
        code = ["-m", "detox.launch"] if act is None else ["-c", RANK.format(act=act)]
        line += [":", "-n", "1", sys.executable, *code, *train]
    return line


def test_messages_that_are_none_change_no_bit_and_who_stays_is_left_behind(jobs, baseline):
    # The hostile rank says goodbye like all others, and stays.
    job = jobs.start_line(_line(["train", "run.toml"], MESSAGES))
    job.wait()
    summary = jobs.summary(job)
    assert summary["steps"] == 20
    assert summary["weights_digest"] == baseline["weights_digest"], job.text
    assert summary["votes"] == baseline["votes"]
    assert summary["dissents"] == baseline["dissents"]
    (ledger,) = job.folder.glob("runs/*/ledger.jsonl")
    malformed = [e for e in map(json.loads, ledger.read_text().splitlines()) if e["kind"] == "malformed"]
    assert malformed
    assert {entry["rank"] for entry in malformed} == {2}
    details = " ".join(entry.get("detail", "") for entry in malformed)
    assert "of which nothing so long is expected" in details
    assert not (job.folder / "spawned").exists()
    assert not job.processes()


def test_calls_that_others_never_make_fill_nobodys_memory(jobs):
    train = ["train", "run.toml", "--q", "0", "--steps", "10", "--transport.deadline", "1"]
    job = jobs.start_line(_line(train, COLLECTIVES))
    job.wait_for("ranks on")
    flooded = [job.pid_of_rank(rank) for rank in (0, 1)]
    memory = []
    while job.process.poll() is None and "10 steps" not in job.text:  # then MPI ends, for which it reads all that came
        memory.append([job.memory_of(pid) for pid in flooded])
        time.sleep(0.1)
    job.wait()
    assert jobs.summary(job)["steps"] == 10
    assert len(memory) > 5
    for sizes in zip(*memory, strict=True):
        assert max(sizes) - sizes[0] < 32e6
    assert not job.processes()


def test_ranks_that_break_down_or_stall_in_a_message_are_done_without(jobs, tmp_path):
    (tmp_path / "breaks.py").write_text(BREAKS)
    train = ["train", "run.toml", "--task", "breaks:Breaks", "--model", "None", "--q", "0", "--groups", "fixed"]
    # Six ranks of workers have two, two, one, and again: the second, fourth and sixth have one each, of three groups.
    # Half a message of an unknown kind, too long, and nothing more; the same as a claim.
    # The fifth is right, and floods the first, which grows by nothing of it.
    acts = [None, None, STALL.format(tag=77), FLOOD, STALL.format(tag=Kind.CLAIM.value)]
    job = jobs.start_line(_line([*train, "--transport.deadline", "3"], *acts), (tmp_path / "breaks.py",))
    job.wait_for("ranks on")
    flooded, memory = job.pid_of_rank(1), []
    while job.process.poll() is None:
        memory.append(job.memory_of(flooded))
        time.sleep(0.1)
    job.wait()
    memory = [size for size in memory if size]
    assert max(memory) - memory[0] < 16e6
    summary = jobs.summary(job)
    assert summary["steps"] == 20
    assert summary["skipped_steps"] == 0
    assert [counts.get("silent", 0) for counts in summary["ledger"]] == [0, 0, 16, 0, 0, 16, 0, 0, 16], job.text
    assert "the disk is gone" in job.text
    assert not job.processes()
