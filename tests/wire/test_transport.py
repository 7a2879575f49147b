"""MPI as it is when a peer dies, which takes a stand-in for it; in a process of its own, for MPI is imported there."""

import subprocess
import sys

import pytest

DYING = """
from collections import Counter

import numpy as np
from mpi4py import MPI

from detox.wire import Header, Kind, transport
from detox.wire.transport import Transport

LONG, LONGER = 10**6, 10**7
turn = [0]


class Sent:
    # A message of a peer, and the request by which it is received: in a later turn MPI says how it ended.

    def __init__(self, payload, end):
        self.frame, self.end = Header(Kind.GRADIENT, 1).pack(payload) + bytes(payload), end

    def Irecv(self, into):
        if into[0].size:
            into[0][:] = np.frombuffer(self.frame, np.uint8)
        self.began = turn[0]
        return self

    def Test(self):
        return turn[0] > self.began and self.end()


def dies():
    raise MPI.Exception(getattr(MPI, "ERR_PROC_FAILED", None) or MPI.ERR_REVOKED)


def is_cut_off():
    raise MPI.Exception(MPI.ERR_TRUNCATE)


class Links:
    # What was taken, what is awaited of any peer, and what was received.

    def __init__(self):
        self.taken, self.awaited, self.came = [], [], []

    def take(self, peer, size, expected=True):
        self.taken.append(size)

    def receiving(self, peer, size, expected):
        self.awaited.append(size)

    def received(self, peer, size):
        self.awaited.remove(size)
        self.came.append(size)

    def look(self):
        pass


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


for name, size, credit, end in (
    ("both arrive", LONG, 2, lambda: True),
    ("arrived", LONG, 2, dies),
    ("waiting", LONG, 1, dies),
    ("long", LONGER, 2, lambda: True),
    ("unasked", LONG, 0, is_cut_off),
    ("unasked and long", LONGER, 0, is_cut_off),
):
    transport.links = links = Links()
    ends = Transport(Comm(Sent(size, end), Sent(8, lambda: True)), [0])
    ends.limits[Kind.GRADIENT] = size
    ends.credit[Kind.GRADIENT] = Counter({0: credit})
    came = []
    for turn[0] in range(4):
        came.append([message.fault or len(message.payload) for message in ends.receive()])
    print(name, came, ends.dead, "taken", links.taken, "awaited", links.awaited, "came", links.came, flush=True)
"""


@pytest.fixture(scope="module")
def told():
    line = [sys.executable, "-c", DYING]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("behind", ["arrived", "waiting"])
def test_a_peer_that_dies_in_the_middle_of_a_message_takes_those_behind_it_along(told, behind):
    assert "both arrive [[], [1000000, 8], [], []] set() taken [1000032, 40] awaited [] came [1000032, 40]" in told
    assert any(line.startswith(f"{behind} [[], [], [], []] {{0}}") for line in told)


def test_of_a_message_that_was_not_asked_for_nothing_stays_awaited(told):
    fault = "'{} bytes of kind 7 that were not asked for'"
    short, middle, long = (fault.format(size + 32) for size in (8, 10**6, 10**7))
    assert f"unasked [[], [{middle}, {short}], [], []] set() taken [1000032, 40] awaited [] came [1000032, 40]" in told
    assert f"unasked and long [[{long}], [{short}], [], []] set() taken [40] awaited [] came [40]" in told
    assert "long [[], [10000000, 8], [], []] set() taken [10000032, 40] awaited [] came [10000032, 40]" in told
