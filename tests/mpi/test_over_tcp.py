"""Jobs of mpirun whose messages go over TCP: MPI starts the ranks, and what becomes of it after that ends nobody."""

import json
import sys
import time
from pathlib import Path

from faults import faults
from loopback import train

from detox.launch.mpirun import mpirun_line
from detox.ps.events import Trait, kinds
from detox.wire import keys

PROGRAM = [sys.executable, "-m", "detox.launch"]
TCP = ("--transport.channel", "tcp")
# Six ranks of workers have two, two, one, and again: the second, fourth and sixth have one each, of three groups.
OPTIONS = (
    "--q",
    "0",
    "--groups",
    "fixed",
    "--steps",
    "40",
    "--transport.deadline",
    "20",
    "--transport.fetch-deadline",
    "20",
)

RANK = """
import sys
from mpi4py import MPI
from detox.launch.main import main
from detox.wire import Kind
from detox.wire.tcp import Channel

honest = Channel.send

def send(self, peers, header, payload=b""):
    if header.kind == Kind.CLAIM and header.step == 10:
        act()
    honest(self, peers, header, payload)

Channel.send = send
{act}
sys.argv = ["detox-ps", *sys.argv[1:]]
main()
"""
REVOKE = """
def act():
    MPI.COMM_WORLD.Revoke()
"""
FLOOD = """
flood = []

def act():  # what MPI never shows the PS
    content = bytes(900)
    for _ in range(100_000):
        flood.append(MPI.COMM_WORLD.Igather([content, MPI.BYTE], None, root=0))
"""
SHUT = """
import os, socket, stat

def act():  # all of its connections, also MPI's
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                stream = socket.socket(fileno=os.dup(int(name)))
                if not stream.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
"""
NEVER = """
import time
from detox.wire.dialer import Dialer

def arrivals(self, missing):
    time.sleep(600)

Dialer.arrivals = arrivals
"""


def _line(options, *acts):
    """mpirun's line: the PS, then six ranks, of which each is ours where its act is None."""
    train = ["train", "run.toml", *options]
    line = mpirun_line(1, None, [*PROGRAM, *train])
    for act in acts:
        code = PROGRAM[1:] if act is None else ["-c", RANK.format(act=act)]
        line += [":", "-n", "1", sys.executable, *code, *train]
    return line


def _ledger(job):
    (path,) = job.folder.glob("runs/*/ledger.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _growth(job, words):
    """Bytes by which the PS grows to the job's end at most, once these words were said."""
    job.wait_for(words)
    ps, memory = job.pid_of_rank(0), []
    while job.process.poll() is None:
        memory.append(job.memory_of(ps))
        time.sleep(0.02)
    memory = [size for size in memory if size]
    return max(memory) - memory[0]


def test_ranks_that_break_down_or_break_mpi_change_no_bit(jobs, here):
    when = ["--fault.first", "30", "--fault.every", "1000", *faults([5], ["kill"])]
    job = jobs.start_line(_line([*OPTIONS, *TCP, *when], None, FLOOD, None, REVOKE, None, SHUT))
    grown = _growth(job, "now here")
    summary = jobs.summary(job)
    assert summary["weights_digest"] == here.run(*OPTIONS, n=2)["weights_digest"], job.text
    lines = _ledger(job)
    told = {(line["worker"], line["kind"]) for line in lines}
    assert not {kind for _, kind in told} & {*kinds(Trait.OFFENCE), *kinds(Trait.PROOF)}
    assert (5, "dead") in told
    # It dials anew at once, and may be back before the step tells of it.
    assert (8, "dead") in told or any("is back" in line.get("detail", "") for line in lines if line["worker"] == 8)
    assert {kind for worker, kind in told if worker not in (2, 5, 8)} <= {"joined", "late", "silent"}
    assert grown < 16e6
    assert not job.processes()


def test_colluders_slices_of_weights_and_two_servers_make_the_bits_of_memory(jobs, here):
    wide = Path(__file__).parents[1] / "jobs" / "wide.py"
    task = ("--task", "wide:Wide", "--model", "None", "--batch-size", "1", "--p", "15", "--groups", "fixed")
    attack = (*task, "--q", "4", "--attack.kind", "alie", "--attack.placement", "worst")
    job = jobs.start(*attack, *TCP, "--servers", "2", "--transport.relay", "relay", n=5, files=(wide,))
    assert job.wait() == 0, job.text
    summary = jobs.summary(job)
    assert summary["weights_digest"] == here.run(*attack, files=(wide,))["weights_digest"]
    assert summary["weights_digest"] != here.run(*task, "--q", "0", files=(wide,))["weights_digest"]
    assert "complained" not in {line["kind"] for line in _ledger(job)}


def test_a_rank_that_never_dials_is_left_out_and_ends_with_the_job(jobs, tmp_path):
    # Four ranks of workers have two, one, two and one.
    options = (*OPTIONS, "--p", "6", "--q", "1", "--transport.p-min", "5")
    job = jobs.start_line(_line([*options, *TCP], None, NEVER, None, None))
    job.wait()
    summary = jobs.summary(job)
    (left,) = [line for line in _ledger(job) if line["kind"] == "left_out"]
    assert (left["worker"], left["detail"]) == (2, "has not come")
    keys.make(tmp_path / "keys", range(6))
    assert summary["weights_digest"] == train(tmp_path, *options, p=6, absent=(3,)).summary["weights_digest"]
    assert not job.processes()
