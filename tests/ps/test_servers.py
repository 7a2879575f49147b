"""What the PS and its further servers tell each other, also where one falls silent."""

import json

import numpy as np
import pytest

from detox.aggregators import Share
from detox.errors import JobError
from detox.ps.ballots import Verdict
from detox.ps.further import FurtherServer, Peers
from detox.ps.outgoing import Outgoing
from detox.ps.servers import LostServerError, Servers
from detox.wire import DIGEST_BYTES, Codec, Header, Kind, claim_of
from detox.wire import codec as codec_module
from detox.wire.memory import Network
from detox.wire.slices import Routes

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


def test_who_is_behind_at_a_server_is_asked_before_each_step(network):
    session = network.session(0, [1, 2])
    servers = Servers(session, [Share(0, 4, 12), Share(4, 8, 12), Share(8, 12, 12)], SILENCE)
    session.expect(servers.limits, asked=servers.limits)
    behind = {1: [[7], []], 2: [[5, 7], []]}

    def answer(rank, message):
        channels[rank].send([0], message.header, np.array(behind[rank].pop(0), np.int32).tobytes())

    channels = {rank: network.channel(rank, [0], lambda message, rank=rank: answer(rank, message)) for rank in behind}
    assert servers.ask_behind() == {5, 7}
    assert servers.ask_behind() == set()


class Weights:
    """A share of the model that stays as it is."""

    weights = np.zeros(4, np.float32)
    digest = b"digest"

    def set_up(self, settings):
        pass


class Sums:
    """Stands for an aggregation that sums twice over all servers."""

    def __init__(self, further):
        self.further = further

    def aggregate(self, step, votes, buffers, share):
        self.further.wholes += [self.further.peers.gather(np.ones(1)) for _ in range(2)]
        return None, None

    def apply(self, votes, buffers, update, new, share):
        pass


@pytest.fixture
def further(network):
    """Server 1 itself; what it says to the PS is in `said`, and the worker of rank 2 sends by `worker`."""
    said, others, codec, rows = [], Network(), Codec(4), np.empty((1, 4), np.float32)
    ps = network.channel(0, [1], said.append)
    session, workers = network.session(1, [0]), others.session(1, [2, 3])
    session.expect(dict.fromkeys((Kind.STEP, Kind.BEHIND, Kind.FETCH, Kind.UPDATE, Kind.PART, Kind.SUM), 2**10))
    peers = Peers(session, workers, 4, 8, SILENCE)
    further = FurtherServer(
        session,
        workers,
        [2, 3],
        peers,
        Outgoing(workers, 1, [4, 4]),
        Weights(),
        codec,
        rows,
        lambda f, secret: Sums(further),
        SILENCE,
    )
    further.said, further.ps, further.codec, further.crowd, further.peers = said, ps, codec, others, peers
    further.rows, further.wholes = rows, []
    further.workers = [others.channel(rank, [1], lambda message: None) for rank in (2, 3)]
    return further


def test_a_server_says_when_it_has_asked_and_tells_of_each_answer_that_comes(further):
    share = np.arange(4, dtype=np.float32)
    further.ps.send([1], Header(Kind.STEP, 1), Routes(whole=(2, 3)).pack())
    for worker in (0, 1):
        further.ps.send([1], Header(Kind.FETCH, 1, worker, 0), claim_of(share))
    assert not further.serve()  # for the PS says no more
    assert [m.header for m in further.said] == [Header(Kind.ASKED, 1, worker, 0) for worker in (0, 1)]
    further.said.clear()
    for worker, channel in enumerate(further.workers):
        channel.send([1], Header(Kind.GRADIENT, 1, worker, 0), further.codec.encode(share))
    further.serve()
    assert [(m.header.worker, Verdict(m.payload[0])) for m in further.said] == [(0, Verdict.RIGHT), (1, Verdict.UNREAD)]


def test_a_server_takes_no_chunk_of_one_worker_for_anothers(further, monkeypatch):
    monkeypatch.setattr(codec_module, "CHUNK", 2)
    share, wrong = np.arange(4, dtype=np.float32), np.full(4, 9, np.float32)
    further.ps.send([1], Header(Kind.STEP, 1), Routes(whole=(2, 3)).pack())
    for worker in (0, 1):
        further.ps.send([1], Header(Kind.FETCH, 1, worker, 0), claim_of(share))
    further.serve()
    further.said.clear()

    def part(worker, chunk, vector):
        header = Header(Kind.GRADIENT, 1, worker, 0, chunk)
        further.workers[worker].send([1], header, further.codec.encode(vector, chunk))
        further.serve()
        return [(m.header.worker, Verdict(m.payload[0])) for m in further.said]

    assert part(0, 0, wrong) == part(1, 1, share) == []
    assert part(1, 0, share) == [(1, Verdict.RIGHT)]
    assert part(0, 1, wrong) == [(1, Verdict.RIGHT), (0, Verdict.UNREAD)]
    assert further.rows.tolist() == [share.tolist()]


@pytest.mark.parametrize(
    ("chunk", "why"),
    [(0, "sent chunk 0 of its gradient twice"), (2, "sent chunk 2 of its gradient, of which 1 is the last")],
)
def test_a_server_tells_of_a_chunk_that_came_before_or_that_there_is_none_of(further, monkeypatch, chunk, why):
    monkeypatch.setattr(codec_module, "CHUNK", 2)
    share = np.arange(4, dtype=np.float32)
    further.ps.send([1], Header(Kind.STEP, 1), Routes(whole=(2, 3)).pack())
    further.ps.send([1], Header(Kind.FETCH, 1, 0, 0), claim_of(share))
    further.serve()
    further.said.clear()
    for number in (0, chunk):
        further.workers[0].send([1], Header(Kind.GRADIENT, 1, 0, 0, number), further.codec.encode(share, 0))
    further.serve()
    (answer,) = further.said
    assert answer.header == Header(Kind.DELIVERED, 1, 0, 0)
    assert (Verdict(answer.payload[0]), bytes(answer.payload[1:]).decode()) == (Verdict.GARBLED, why)


def test_a_server_says_which_ranks_have_not_taken_what_it_sent(further):
    further.crowd.channel(3, [1])  # takes nothing
    further.ps.send([1], Header(Kind.STEP, 1), Routes(whole=(2, 3)).pack())
    further.ps.send([1], Header(Kind.BEHIND, 1))
    further.serve()
    (answer,) = further.said
    assert answer.header == Header(Kind.BEHIND, 1)
    assert np.frombuffer(answer.payload, np.int32).tolist() == [3]


def test_orders_may_overtake_each_other_and_workers_are_heard_meanwhile(further, network):
    share = np.arange(4, dtype=np.float32)
    update = json.dumps({"kept": [0], "f": 0, "settings": {}}).encode()
    further.ps.send([1], Header(Kind.STEP, 1), Routes(whole=(2, 3)).pack())
    further.ps.send([1], Header(Kind.FETCH, 1, 0, 0), claim_of(share))
    further.ps.send([1], Header(Kind.PART, 1))  # before the order to update, and the next before the sum of this one
    further.ps.send([1], Header(Kind.UPDATE, 1), update)
    further.ps.send([1], Header(Kind.PART, 1))
    late = Header(Kind.GRADIENT, 1, 0, 0)
    network.later(1, lambda: further.workers[0].send([1], late, further.codec.encode(share)))
    network.later(2, lambda: further.ps.send([1], Header(Kind.SUM, 1), np.array([1.0, 5.0]).tobytes()))
    network.later(3, lambda: further.ps.send([1], Header(Kind.SUM, 1), np.array([1.0, 7.0]).tobytes()))
    waiting = []
    network.later(1.5, lambda: waiting.append(further.crowd.waiting(2, 1)))
    further.serve()
    assert [list(whole) for whole in further.wholes] == [[1, 5], [1, 7]]
    kinds = [message.header.kind for message in further.said]
    assert kinds == [Kind.ASKED, Kind.PART, Kind.PART, Kind.DONE, Kind.DELIVERED]
    assert waiting == [0]


def test_what_nobody_asked_for_is_not_kept_while_a_server_waits_for_the_ps(further, network):
    share = np.arange(4, dtype=np.float32)
    further.ps.send([1], Header(Kind.STEP, 1), Routes(whole=(2, 3)).pack())
    further.ps.send([1], Header(Kind.FETCH, 1, 0, 0), claim_of(share))
    further.ps.send([1], Header(Kind.UPDATE, 1), json.dumps({"kept": [0], "f": 0, "settings": {}}).encode())
    kept = []

    def flood():  # asked for one gradient, a worker may send others until that has come
        kept.append(len(further.peers.late))
        for step, worker, file in ((2, 0, 0), (1, 1, 0), (1, 0, 5), (1, 2**32 - 1, 0)):
            further.workers[0].send([1], Header(Kind.GRADIENT, step, worker, file), further.codec.encode(share))

    for second in range(1, 9):
        network.later(second, flood)
    with pytest.raises(JobError, match="the PS is lost"):
        further.serve()
    assert len(kept) == 8
    assert max(kept) == 0


def test_copies_of_what_was_asked_for_are_kept_once_while_a_server_waits_for_the_ps(further, network):
    share = np.arange(4, dtype=np.float32)
    further.ps.send([1], Header(Kind.STEP, 1), Routes(whole=(2, 3)).pack())
    for file in (0, 5):
        further.ps.send([1], Header(Kind.FETCH, 1, 0, file), claim_of(share))
    further.ps.send([1], Header(Kind.UPDATE, 1), json.dumps({"kept": [0], "f": 0, "settings": {}}).encode())
    kept = []

    def flood():  # by the credit for the one that it never sends
        for chunk in range(10):
            further.workers[0].send([1], Header(Kind.GRADIENT, 1, 0, 0, chunk), further.codec.encode(share))
        further.workers[0].send([1], Header(Kind.GRADIENT, 1, 0, 0), further.codec.encode(share))
        network.later(0.5, lambda: kept.append(len(further.peers.late)))

    for second in range(1, 9):
        network.later(second, flood)
    with pytest.raises(JobError, match="the PS is lost"):
        further.serve()
    assert kept == [1] * 8


def test_a_server_does_not_wait_for_a_silent_ps_in_the_middle_of_a_step(network):
    network.channel(0, [1])
    session = network.session(1, [0])
    with pytest.raises(JobError, match="the PS is lost"):
        Peers(session, Network().session(1, [2]), 4, 8, SILENCE).gather(np.ones(1))
    assert network.now < 2 * SILENCE
