"""The contract of channels, tests/wire/test_channels.py, over MPI: rank 0 runs it, and the other ranks are its ends."""

import sys
from pathlib import Path

from detox.launch.mpirun import mpirun_line

TESTS = Path(__file__).parents[1]
RANK = """
import os, sys
sys.path.insert(0, {tests!r})
os.environ["DETOX_CHANNELS"] = "mpi"
from channel_ends import obey
from detox.wire import transport
transport.BLOCK = 2**12  # so that messages are longer than what is counted in bytes
from detox.wire.job import leave, world
if world().rank:
    obey()
    leave(0, True)
else:
    import pytest
    os.chdir({tests!r} + "/..")
    status = int(pytest.main(["-q", "-p", "no:cacheprovider", "--noconftest", "tests/wire/test_channels.py"]))
    for rank in range(1, world().size):
        try:
            world().send(("over", ()), rank)
        except Exception:
            pass  # it died in a test
    print("status of the contract:", status, flush=True)
    leave(status, False)
"""


def test_the_contract_of_channels_holds_over_mpi(plain_jobs):
    job = plain_jobs.start_line(mpirun_line(4, None, [sys.executable, "-c", RANK.format(tests=str(TESTS))]))
    job.wait()
    assert "status of the contract: 0" in job.text, job.text
    assert "18 passed" in job.text, job.text
