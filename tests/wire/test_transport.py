"""MPI as it is when a peer dies, which takes a stand-in for it; in a process of its own, for MPI is imported there."""

import subprocess
import sys

import pytest

DYING = """
from collections import Counter

import numpy as np
from mpi4py import MPI

from detox.wire import Header, Kind
from detox.wire.transport import Transport

LONG = 10**6
turn = [0]


class Sent:
    # A message of a peer, and the request by which it is received: in a later turn MPI says how it ended.

    def __init__(self, payload, end):
        self.frame, self.end = Header(Kind.GRADIENT, 1).pack(payload) + bytes(payload), end

    def Irecv(self, into):
        into[0][:] = np.frombuffer(self.frame, np.uint8)
        self.began = turn[0]
        return self

    def Test(self):
        return turn[0] > self.began and self.end()


def dies():
    raise MPI.Exception(getattr(MPI, "ERR_PROC_FAILED", None) or MPI.ERR_REVOKED)


class Comm:
    def __init__(self, *sent):
        self.sent = list(sent)

    def Set_errhandler(self, handler):
        pass

    def Get_group(self):
        return MPI.COMM_WORLD.Get_group()

    def Improbe(self, peer, tag, status):
        if not self.sent:
            return None
        sent = self.sent.pop(0)
        status.Set_tag(Kind.GRADIENT)
        status.Set_elements(MPI.BYTE, len(sent.frame))
        return sent


for name, credit, end in (("both arrive", 2, lambda: True), ("arrived", 2, dies), ("waiting", 1, dies)):
    transport = Transport(Comm(Sent(LONG, end), Sent(8, lambda: True)), [0])
    transport.limits[Kind.GRADIENT] = LONG
    transport.credit[Kind.GRADIENT] = Counter({0: credit})
    came = []
    for turn[0] in range(3):
        came.append([len(message.payload) for message in transport.receive()])
    print(name, came, transport.dead)
"""


@pytest.fixture(scope="module")
def told():
    line = [sys.executable, "-c", DYING]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("behind", ["arrived", "waiting"])
def test_a_peer_that_dies_in_the_middle_of_a_message_takes_those_behind_it_along(told, behind):
    assert "both arrive [[], [1000000, 8], []] set()" in told
    assert f"{behind} [[], [], []] {{0}}" in told
