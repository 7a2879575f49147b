"""What the PS and its further servers tell each other, also where one falls silent."""

import numpy as np
import pytest

from detox.aggregators import Share
from detox.errors import JobError
from detox.ps.ballots import Verdict
from detox.ps.further import FurtherServer, Peers
from detox.ps.servers import LostServerError, Servers
from detox.wire import DIGEST_BYTES, Codec, Header, Kind, claim_of
from detox.wire.memory import Network

SHARES = [Share(0, 4, 8), Share(4, 8, 8)]
SILENCE = 30.0


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def servers(network):
    """Server 1, as the PS sees it."""
    session = network.session(0, [1])
    servers = Servers(session, SHARES, SILENCE)
    session.expect(servers.limits, asked=servers.limits)
    servers.turn = lambda: session.turn(servers.take)
    return servers


@pytest.fixture
def server(network):
    """What server 1 says to the PS with."""
    return network.channel(1, [0], lambda message: None)


def test_a_server_that_does_not_answer_is_lost(servers, server, network):
    with pytest.raises(LostServerError, match=r"server 1 has not answered for 30 s \(transport.silence\)"):
        servers.begin_run([{}, {}], 0)
    assert network.now < 2 * SILENCE


def test_a_server_that_says_something_else_and_then_nothing_is_lost(servers, server, network):
    servers.fetch(0, [((5, 2), 1, b"?" * DIGEST_BYTES)])
    network.later(SILENCE / 2, lambda: server.send([0], Header(Kind.ASKED, 0, 5, 2)))
    with pytest.raises(LostServerError, match="server 1 has not answered"):
        servers.begin_run([{}, {}], 0)
    assert network.now > SILENCE


def test_a_server_that_does_not_pass_a_question_on_is_lost(servers, server, network):
    edge = (5, 2)
    servers.fetch(1, [(edge, 1, b"?" * DIGEST_BYTES)])
    network.sleep(SILENCE)
    assert servers.confirmed(1) == []
    server.send([0], Header(Kind.ASKED, 1, *edge))
    servers.turn()
    assert servers.confirmed(1) == [(1, edge)]
    network.sleep(99)  # the worker's time
    assert servers.confirmed(1) == servers.reports(1) == []
    servers.fetch(2, [(edge, 1, b"?" * DIGEST_BYTES)])
    network.sleep(SILENCE + 1)
    with pytest.raises(LostServerError, match="server 1 has not answered"):
        servers.confirmed(2)


class Weights:
    """A share of the model, of which nothing is asked here but its weights."""

    weights = np.zeros(4, np.float32)


@pytest.fixture
def further(network):
    """Server 1 itself; what it says to the PS is in `said`, and the worker of rank 2 sends by `worker`."""
    said, others, codec = [], Network(), Codec(4)
    ps = network.channel(0, [1], said.append)
    session, workers = network.session(1, [0]), others.session(1, [2, 3])
    session.expect({Kind.STEP: 8, Kind.FETCH: DIGEST_BYTES})
    further = FurtherServer(
        session,
        workers,
        [2, 3],
        Peers(session, 4, 8, SILENCE),
        Weights(),
        codec,
        np.empty((1, 4), np.float32),
        lambda f, secret: None,
        SILENCE,
    )
    further.said, further.ps, further.codec = said, ps, codec
    further.workers = [others.channel(rank, [1], lambda message: None) for rank in (2, 3)]
    return further


def test_a_server_says_when_it_has_asked_and_tells_of_each_answer_that_comes(further):
    share = np.arange(4, dtype=np.float32)
    further.ps.send([1], Header(Kind.STEP, 1), np.array([2, 3], np.int32).tobytes())
    for worker in (0, 1):
        further.ps.send([1], Header(Kind.FETCH, 1, worker, 0), claim_of(share))
    assert not further.serve()  # for the PS says no more
    assert [m.header for m in further.said] == [Header(Kind.ASKED, 1, worker, 0) for worker in (0, 1)]
    further.said.clear()
    for worker, channel in enumerate(further.workers):
        channel.send([1], Header(Kind.GRADIENT, 1, worker, 0), further.codec.encode(share))
    further.serve()
    assert [(m.header.worker, Verdict(m.payload[0])) for m in further.said] == [(0, Verdict.RIGHT), (1, Verdict.UNREAD)]


def test_a_server_does_not_wait_for_a_silent_ps_in_the_middle_of_a_step(network):
    network.channel(0, [1])
    session = network.session(1, [0])
    with pytest.raises(JobError, match="the PS is lost"):
        Peers(session, 4, 8, SILENCE).gather(np.ones(1))
    assert network.now < 2 * SILENCE
