"""MPI as it is when a peer dies, which takes a stand-in for it; in a process of its own, for MPI is imported there."""

import subprocess
import sys

import pytest

DYING = """
from collections import Counter

import numpy as np
from mpi4py import MPI

from detox.wire import Header, Kind
from detox.wire import transport as module
from detox.wire.transport import Transport

LONG = 10**6


class Failed:
    # A request of which MPI says that its peer has died.

    def Test(self):
        raise MPI.Exception(next(iter(module._PEER_IS_GONE)))


class Done:
    def Test(self):
        return True


class Comm:
    def Set_errhandler(self, handler):
        pass

    def Improbe(self, *_):
        return None


def _arrived():
    frame = np.frombuffer(Header(Kind.GRADIENT, 1).pack(8) + bytes(8), np.uint8).copy()
    return module._Incoming(None, frame.size, Kind.GRADIENT, "", frame, Done())


def _waiting():
    return module._Incoming(None, 40, Kind.GRADIENT, "")


for behind in (_arrived, _waiting):
    transport = Transport(Comm(), [1])
    transport.limits[Kind.GRADIENT] = LONG
    transport.credit[Kind.GRADIENT] = Counter({1: 1})
    cut_off = module._Incoming(None, LONG, Kind.GRADIENT, "", np.empty(LONG, np.uint8), Failed())
    transport._incoming[1] = [cut_off, behind()]
    print(behind.__name__, list(transport.receive()), transport.dead, list(transport.receive()))
"""


@pytest.fixture(scope="module")
def told():
    line = [sys.executable, "-c", DYING]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("behind", ["_arrived", "_waiting"])
def test_a_peer_that_dies_in_the_middle_of_a_message_takes_those_behind_it_along(told, behind):
    assert f"{behind} [] {{1}} []" in told
