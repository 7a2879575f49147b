"""What messages take on the wire, as the kernel counts it."""

import re
import sys

from detox.launch.mpirun import mpirun_line
from detox.wire.ob1 import AT_ONCE, answer, at_once, behind, known

SIZES = (
    *(0, 1, AT_ONCE, AT_ONCE + 1, 2000, 65_536, 131_072, AT_ONCE + 131_040, AT_ONCE + 131_041, 10**6),
    *(4_000_032, 4_194_336, 2 * 10**7),
)

RECEIVED = r"received: (\d+) (\d+) (\d+)"

COUNTS = """
import os, time
from pathlib import Path
import numpy as np
from detox.wire.job import MPI, world
from detox.wire.sockets import Loop, listening

rank, loop, turn = world().rank, Loop(listening), 0

def together():
    # By files, so that nothing passes over the connection.
    global turn
    turn += 1
    Path(f"{turn}-{rank}").touch()
    while not Path(f"{turn}-{1 - rank}").exists():
        time.sleep(0.001)

def count():
    for _ in range(50):
        world().Iprobe()
        time.sleep(0.001)
    return sum(one.read for one in loop.connections())

world().Barrier()
for size in SIZES:
    content = [np.zeros(size, np.uint8), MPI.BYTE]
    together()
    before = count()
    together()
    if rank == 1:
        sent = world().Isend(content, dest=0)
        together()
    else:
        while (matched := world().Improbe(1)) is None:
            pass
        begun = count() - before
        sent = matched.Irecv(content)
        together()
    while not sent.Test():
        time.sleep(0.001)
    came = count() - before
    print(*(["received:", size, begun, came] if rank == 0 else ["sent:", size, came]), flush=True)
together()
os._exit(0)
"""


def test_messages_take_what_is_said(jobs):
    job = jobs.start_line(mpirun_line(2, None, [sys.executable, "-c", f"SIZES = {SIZES}" + COUNTS]))
    job.wait()
    received = {int(size): (int(begun), int(came)) for size, begun, came in re.findall(RECEIVED, job.text)}
    assert received == {size: (at_once(size), at_once(size) + behind(size)) for size in SIZES}, job.text
    assert {int(size): int(came) for size, came in re.findall(r"sent: (\d+) (\d+)", job.text)} == {
        size: answer(size) for size in SIZES
    }


SETTINGS = {
    "OMPI_MCA_btl": "tcp,self",
    "OMPI_MCA_btl_tcp_flags": "send,inplace",
    "OMPI_MCA_btl_tcp_eager_limit": "1024",
    "OMPI_MCA_btl_tcp_rndv_eager_limit": "1024",
}


def test_the_settings_of_the_launcher_are_known_and_others_are_not():
    words = mpirun_line(2, None, ["true"])
    given = {f"OMPI_MCA_{words[i + 1]}": words[i + 2] for i, word in enumerate(words) if word == "--mca"}
    version = "Open MPI v5.0.11, package: Open MPI user@host"
    assert known(version, given)
    assert given.items() >= SETTINGS.items()
    assert not known("Open MPI v5.1.0", given)
    assert not known(version, {})
    for name in SETTINGS:
        assert not known(version, {**given, name: "other"})
    for name in ("OMPI_MCA_btl_tcp_max_send_size", "OMPI_MCA_pml"):
        assert not known(version, {**given, name: "other"})
