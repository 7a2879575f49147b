"""What the PS answers to ranks that say that a slice did not come."""

import numpy as np
import pytest

from detox.ps.broadcast import Broadcast
from detox.ps.events import EventKind
from detox.ps.relays import Relays
from detox.wire import Header, Kind, Message
from detox.wire.memory import Network

RANKS = [2, 3, 4, 5]


@pytest.fixture
def sent():
    """Slices of step 1 on their way to four ranks, which take nothing; `waiting` are its messages to one of them."""
    network = Network()
    session = network.session(0, RANKS)
    for rank in RANKS:
        network.channel(rank, [0])
    broadcast = Broadcast(session, RANKS, Relays(RANKS, 1), 12)
    broadcast.send(1, set(RANKS), set(), np.arange(12, dtype=np.float32))
    broadcast.waiting = lambda rank: network.waiting(0, rank)
    return broadcast


def ask(broadcast, rank, index):
    (event,) = broadcast.answer(Message(rank, Header(Kind.MISSING, 1, file=index), memoryview(b"\0")))
    return event


def test_a_slice_is_sent_again_once_and_the_complaint_is_told(sent):
    before = sent.waiting(3)
    assert ask(sent, 3, 0).kind == EventKind.COMPLAINED
    assert sent.waiting(3) == before + 1
    assert ask(sent, 3, 0).detail == "asked for slice 0 twice"
    assert sent.waiting(3) == before + 1


def test_nobody_gets_its_own_slice_again(sent):
    before = sent.waiting(3)
    event = ask(sent, 3, 1)
    assert (event.kind, event.detail) == (EventKind.MALFORMED, "asked for its own slice")
    assert sent.waiting(3) == before
