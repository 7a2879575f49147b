"""A rank's part in bringing weights of two servers to all, in memory."""

import numpy as np
import pytest

from detox.wire import Header, Kind
from detox.wire.memory import Network
from detox.wire.slices import Routes, Slices, divide
from detox.worker.relay import Relay

RANKS = (2, 3, 4, 5)  # the first two pass on slices of server 0, the others of server 1
SHARES = np.arange(8, dtype=np.float32).reshape(2, 4)
FRESH = SHARES + 1


class Rank2:
    """Its relay, and what the others say to it: each other rank and server by a channel of its own."""

    def __init__(self):
        self.servers, self.crowd, self.got = Network(), Network(), []
        session = self.servers.session(2, [0, 1])
        self.relay = Relay(session, self.crowd.session(2, RANKS[1:]), 2, [4, 4])
        session.expect(self.relay.limits)
        self.turn = lambda: (session.turn(self.relay.take), self.relay.turn())
        self.asked = []
        self._server = [self.servers.channel(server, [2], self.asked.append) for server in (0, 1)]
        self._peers = {rank: self.crowd.channel(rank, [2], self.got.append) for rank in RANKS[1:]}

    def tell(self, server, step, share):
        told = Slices.of(share, Routes(RANKS), len(divide(RANKS, [4, 4])[server]))
        self._server[server].send([2], Header(Kind.SLICES, step), told.pack())

    def send(self, source, step, index, weights):
        channel = self._server[source] if source < 2 else self._peers[source]
        channel.send([2], Header(Kind.SLICE, step, file=index), weights.reshape(4, 2)[index].tobytes())

    def after(self, seconds):
        self.servers.sleep(seconds)
        self.turn()


@pytest.fixture
def rank():
    return Rank2()


def test_a_slice_goes_on_as_soon_as_its_own_server_has_told_of_it(rank):
    rank.tell(0, 1, SHARES[0])
    rank.send(0, 1, 0, SHARES)
    rank.turn()
    assert [message.header for message in rank.got] == [Header(Kind.SLICE, 1, file=0)] * 3


def test_slices_of_a_server_that_tells_of_them_late_wait_and_nothing_is_asked_for(rank):
    for step, weights in ((1, SHARES), (2, FRESH)):
        rank.tell(0, step, weights[0])
        rank.send(0, step, 0, weights)
        for source, index in ((3, 1), (4, 2)):
            rank.send(source, step, index, weights)
        rank.turn()
        rank.after(99.0)
        rank.tell(1, step, weights[1])
        rank.after(0.5)
        assert rank.relay.pop() is None
        rank.send(5, step, 3, weights)
        rank.after(0.5)
        at, whole = rank.relay.pop()
        assert (at, whole.tobytes()) == (step, weights.tobytes())
    assert rank.asked == []


def test_until_the_ps_tells_of_slices_others_are_looked_at_now_and_then_only(rank):
    rank.turn()
    rank.send(3, 1, 1, SHARES)
    rank.turn()
    assert rank.crowd.waiting(3, 2) == 1
    rank.tell(0, 1, SHARES[0])
    rank.turn()
    assert rank.crowd.waiting(3, 2) == 0


def test_after_a_silence_a_flood_gets_what_was_left_over_of_32_steps_at_most(rank):
    for step in range(1, 100):
        rank.tell(0, step, SHARES[0])
        rank.turn()
    for _ in range(50):
        rank.send(3, 99, 1, SHARES)
    rank.turn()
    assert rank.crowd.waiting(3, 2) == 50 - 32


def test_of_a_flood_no_more_is_taken_than_two_slices_and_one_in_each_step(rank):
    for _ in range(50):
        rank.send(3, 1, 1, SHARES)
    left = []
    for step in range(1, 5):
        rank.tell(0, step, SHARES[0])
        rank.after(1.0)
        left.append(rank.crowd.waiting(3, 2))
    assert left == [48, 47, 46, 45]


def test_slices_that_come_a_step_early_or_late_are_no_flood(rank):
    late, early = 4, 5
    for step in range(1, 20):
        rank.send(early, step, 3, SHARES)
        rank.turn()
        for server in (0, 1):
            rank.tell(server, step, SHARES[server])
        rank.send(0, step, 0, SHARES)
        rank.send(3, step, 1, SHARES)
        if step % 3:
            if step % 3 == 1:
                rank.send(late, step - 1, 2, SHARES)
            rank.send(late, step, 2, SHARES)
        rank.turn()
        assert (rank.relay.pop() is not None) == bool(step % 3)
    assert not any(rank.crowd.waiting(peer, 2) for peer in (3, late, early))


def test_slices_that_come_late_once_leave_no_later_step_late(rank):
    late, held = 4, []
    for step in range(1, 30):
        for server in (0, 1):
            rank.tell(server, step, SHARES[server])
        rank.send(0, step, 0, SHARES)
        for peer, index in ((3, 1), (5, 3)):
            rank.send(peer, step, index, SHARES)
        held.append(step)
        if step not in (11, 12):
            for one in held:
                rank.send(late, one, 2, SHARES)
            held.clear()
        rank.turn()
        assert (rank.relay.pop() is None) == (step in (11, 12)), step


def test_newer_weights_of_one_server_end_the_wait_for_older_ones(rank):
    rank.tell(0, 1, SHARES[0])
    rank.send(0, 1, 0, SHARES)
    rank.turn()
    rank.tell(1, 2, FRESH[1])
    rank.turn()
    rank.tell(1, 1, SHARES[1])
    rank.tell(0, 2, FRESH[0])
    for source, index in ((0, 0), (3, 1), (4, 2), (5, 3)):
        rank.send(source, 2, index, FRESH)
    rank.turn()
    step, whole = rank.relay.pop()
    assert (step, whole.tobytes()) == (2, FRESH.tobytes())
