"""What two ranks do to each other's memory, below the protocol."""

import sys

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


def test_a_message_that_nobody_waited_for_is_not_written_into_elses_memory(jobs):
    job = jobs.start_line(mpirun_line(2, None, [sys.executable, "-c", LEAVES]))
    assert job.wait() == 0, job.text
    assert "received before QUIT: 0 bytes changed: 0" in job.text
