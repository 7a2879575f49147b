"""What two ranks do to each other's memory, below the protocol."""

import re
import sys

import pytest

from detox.launch.mpirun import mpirun_line

LEAVES = """
import sys, time
import numpy as np
from detox.wire import Header, Kind
from detox.wire.job import leave, world
from detox.wire.transport import Transport

LONG = 100_000  # not sent before the receiver asks for it, and short enough for its memory to be used again at once

def first_rank():
    transport = Transport(world(), [1])
    transport.send([1], Header(Kind.WEIGHTS, 1), b"x" * LONG)
    transport.send([1], Header(Kind.QUIT))
    transport.limits[Kind.BYE] = 0
    while not any(transport.receive()):
        time.sleep(0.001)

def second_rank():
    transport = Transport(world(), [0])
    transport.limits.update({Kind.WEIGHTS: LONG, Kind.QUIT: 0})
    kinds = []
    while Kind.QUIT not in kinds:
        kinds += [message.header.kind for message in transport.receive()]
    transport.send([0], Header(Kind.BYE))
    while transport.sending(0):
        pass
    return kinds

if world().rank == 0:
    first_rank()
    leave(0, True)
else:
    kinds = second_rank()
    others = [np.zeros(size, np.uint8) for size in [LONG, LONG + 44, LONG // 2] for _ in range(9)]
    leave(0, True)
    print("received before QUIT:", len(kinds) - 1, "bytes changed:", sum(map(np.count_nonzero, others)))
"""

FLOOD = """
import time
from pathlib import Path
from detox.wire import Header, Kind
from detox.wire.job import abort, world
from detox.wire.transport import Transport

other = world().Dup()
def flooded_rank():
    transport = Transport(world(), PEERS)
    transport.limits.update({Kind.SLICE: SIZE if KIND == "expected" else 100_000})
    if KIND not in ("of no peer", "beside those that are dropped"):
        transport.quota.update({1: 2, 2: 1000})
    for _ in range(0 if KIND == "at the start" else 2):
        transport.send(PEERS, Header(Kind.WORK))
    before, heard, faults, end = resident(), [0, 0, 0], 0, time.monotonic() + 30
    while heard[2] < 40 and time.monotonic() < end:
        for message in transport.receive():
            heard[message.source] += message.header is not None
            faults += message.header is None
        time.sleep(0.0005)
    print("heard:", *heard[1:], "dropped:", faults, "grown:", round(resident() - before), flush=True)

def flooding_rank():
    if KIND != "at the start":
        time.sleep(0.3)
    kind = Kind.BYE if KIND in ("unexpected", "beside those that are dropped") else Kind.SLICE
    frame, under_way = Header(kind, 1).frame(bytes(SIZE)), []
    for n in range(MANY):
        if KIND == "collective":
            under_way.append(world().Igather(frame, None, root=0))
        else:
            elsewhere = n % 5 if KIND == "beside those that are dropped" else KIND in ("elsewhere", "at the start")
            comm = other if elsewhere else world()
            under_way.append(comm.Isend(frame, dest=0, tag=int(kind)))
        under_way[-1].Test()
    for _ in range(20_000):  # mpirun does not always end it with the others
        world().Iprobe()
        time.sleep(0.001)

def other_rank():
    transport = Transport(world(), [0])
    for step in range(40):
        transport.send([0], Header(Kind.SLICE, step), bytes(100_000 if KIND != "expected" else SIZE))
        while transport.sending(0):
            time.sleep(0.001)
        time.sleep(0.05)
    time.sleep(20)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

if world().rank == 0:
    flooded_rank()
    abort()
elif world().rank == 1:
    flooding_rank()
else:
    other_rank()
"""

AHEAD = """
import time
from detox.wire import Header, Kind
from detox.wire.job import abort, links, world
from detox.wire.transport import Transport

MANY, SIZE = 4000, 900  # in all seven times what is held

def rank_behind():
    transport, heard = Transport(world(), [1]), []
    transport.limits[Kind.SLICE] = SIZE
    transport.quota[1] = 0
    transport.send([1], Header(Kind.WORK))
    transport.send([1], Header(Kind.WORK))
    end = time.monotonic() + 3
    while time.monotonic() < end:
        heard += transport.receive()
        world().Iprobe(1, 99)  # MPI reads, as it does while other peers are looked at
        time.sleep(0.001)
    print("heard:", len(heard), "stopped:", len(links._stopped), end=" ")
    transport.quota[1] = MANY
    end = time.monotonic() + 30
    while len(heard) < MANY and time.monotonic() < end:
        heard += transport.receive()
        time.sleep(0.001)
    print("then:", len(heard), "in order:", [message.header.step for message in heard] == list(range(MANY)), flush=True)
    abort()

def rank_ahead():
    transport = Transport(world(), [0])
    for step in range(MANY):
        transport.send([0], Header(Kind.SLICE, step), bytes(SIZE))
        list(transport.receive())
    for _ in range(40_000):  # mpirun does not always end it with the other
        list(transport.receive())
        time.sleep(0.001)

world().Dup()
rank_behind() if world().rank == 0 else rank_ahead()
"""


def test_a_message_that_nobody_waited_for_is_not_written_into_elses_memory(jobs):
    job = jobs.start_line(mpirun_line(2, None, [sys.executable, "-c", LEAVES]))
    assert job.wait() == 0, job.text
    assert "received before QUIT: 0 bytes changed: 0" in job.text


@pytest.mark.parametrize(
    ("flood", "many", "size", "peers", "grown"),
    [
        ("expected", 100_000, 900, [1, 2], 16),
        ("expected", 100_000, 2000, [1, 2], 16),
        ("unexpected", 200_000, 2000, [1, 2], 16),
        ("of no peer", 20_000, 100_000, [2], 16),
        ("elsewhere", 200_000, 0, [1, 2], 24),
        ("elsewhere", 200_000, 2000, [2], 16),
        ("collective", 100_000, 900, [1, 2], 16),
        ("collective", 100_000, 900, [2], 16),
        ("at the start", 200_000, 900, [2], 16),
        ("beside those that are dropped", 300_000, 0, [1, 2], 40),
    ],
)
def test_a_rank_grows_by_no_flood_and_others_are_heard(jobs, flood, many, size, peers, grown):
    script = f"KIND, MANY, SIZE, PEERS = {(flood, many, size, peers)}" + FLOOD
    job = jobs.start_line(mpirun_line(3, None, [sys.executable, "-c", script]))
    job.wait()
    found = re.search(r"heard: (\d+) 40 dropped: \d+ grown: (-?\d+)", job.text)
    assert found, job.text
    assert int(found[1]) <= 2
    assert int(found[2]) < grown


@pytest.mark.parametrize("buffer", [2**17, 2**21])
def test_a_rank_that_is_only_ahead_is_read_again_whatever_the_kernel_buffers(jobs, buffer):
    line = mpirun_line(2, None, [sys.executable, "-c", AHEAD])
    line[line.index("btl_tcp_rcvbuf") + 1] = str(buffer)
    job = jobs.start_line(line)
    job.wait()
    assert "heard: 0 stopped: 1 then: 4000 in order: True" in job.text
