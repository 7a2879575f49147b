"""What every channel does: in one process, over TCP, also between workers, and over MPI, in a job of tests/mpi."""

import os
from collections import Counter

import numpy as np
import pytest
from channel_ends import KINDS

from detox.wire import Header, Kind

LIMIT = 5_000_000


@pytest.fixture(params=os.environ.get("DETOX_CHANNELS", "memory tcp mesh").split())
def ends(request, tmp_path):
    yield from KINDS[request.param](tmp_path)


@pytest.mark.parametrize("size", [0, 1, 40_000, 3_000_000])
def test_a_message_arrives_as_it_was_sent_in_both_directions(ends, size):
    payload = np.random.default_rng(size).bytes(size)
    ends.ps.limits.update({Kind.CLAIM: LIMIT})
    ends.workers[2].expect({Kind.WEIGHTS: LIMIT})
    ends.workers[2].send(Header(Kind.CLAIM, 7), payload)
    ends.ps.send([2], Header(Kind.WEIGHTS, 8), payload)
    assert ends.until(lambda: ends.heard) == [(2, (Kind.CLAIM, 7, payload))]
    ends.until(lambda: ends.workers[2].turn())
    assert ends.workers[2].turn() == [(Kind.WEIGHTS, 8, payload)]


def test_messages_of_a_kind_come_in_the_order_in_which_they_were_sent(ends):
    ends.ps.limits.update({Kind.CLAIM: LIMIT})
    for step in range(50):
        ends.workers[1].send(Header(Kind.CLAIM, step), bytes(10 * step))
    heard = ends.until(lambda: len(ends.heard) == 50)
    assert [step for _, (_, step, _) in heard] == list(range(50))


def test_each_of_several_peers_gets_what_is_sent_to_all_though_it_changes_after(ends):
    payload = bytearray(b"as it was")
    for end in ends.workers.values():
        end.expect({Kind.WORK: LIMIT})
    ends.ps.send([1, 3], Header(Kind.WORK, 1), payload)
    payload[:] = b"otherwise"
    for rank in (1, 3):
        ends.until(lambda rank=rank: ends.workers[rank].turn())
        assert ends.workers[rank].turn() == [(Kind.WORK, 1, b"as it was")]
    assert ends.workers[2].turn() == []


def test_what_is_too_long_or_of_another_kind_is_a_fault_of_its_sender_alone(ends):
    ends.ps.limits.update({Kind.CLAIM: 32})
    ends.workers[1].send(Header(Kind.CLAIM), bytes(33))
    ends.workers[2].send(Header(Kind.READY))
    ends.workers[3].send(Header(Kind.CLAIM), bytes(32))
    heard = dict(ends.until(lambda: len(ends.heard) == 3))
    assert heard[1] == "65 bytes of kind 5, of which nothing so long is expected"
    assert heard[2] == "32 bytes of kind 2, of which nothing so long is expected"
    assert heard[3] == (Kind.CLAIM, 0, bytes(32))


def test_what_was_expected_before_is_a_fault_and_what_comes_behind_it_arrives(ends):
    ends.ps.limits.update({Kind.READY: 100})
    ends.turn()
    ends.ps.limits.clear()
    ends.ps.limits.update({Kind.CLAIM: 100})
    ends.workers[1].send(Header(Kind.READY), bytes(100))
    ends.workers[1].send(Header(Kind.CLAIM, 3), b"claim")
    heard = ends.until(lambda: len(ends.heard) == 2)
    assert (1, (Kind.CLAIM, 3, b"claim")) in heard
    assert (1, "132 bytes of kind 2, of which nothing so long is expected") in heard


def test_without_credit_nothing_is_taken_in(ends):
    ends.ps.limits.update({Kind.GRADIENT: LIMIT})
    ends.ps.credit.update({Kind.GRADIENT: Counter()})
    ends.workers[1].send(Header(Kind.GRADIENT, 1), bytes(LIMIT))
    heard = ends.until(lambda: len(ends.heard) == 1)
    assert heard == [(1, f"{LIMIT + 32} bytes of kind 7 that were not asked for")]
    ends.ps.credit.update({Kind.GRADIENT: Counter({1: 1})})
    ends.workers[1].send(Header(Kind.GRADIENT, 2), b"asked for")
    assert ends.until(lambda: len(ends.heard) == 2)[1] == (1, (Kind.GRADIENT, 2, b"asked for"))


def test_what_is_beyond_a_peers_quota_waits_on_its_side_and_holds_up_nobody_else(ends):
    ends.ps.limits.update({Kind.SLICE: LIMIT})
    ends.ps.quota.update({1: 2})
    for step in range(5):
        ends.workers[1].send(Header(Kind.SLICE, step), bytes(3_000_000))
    ends.workers[2].send(Header(Kind.SLICE, 9))
    ends.until(lambda: len(ends.heard) == 3)
    for _ in range(30):
        ends.turn()
    assert sorted(step for _, (_, step, _) in ends.heard) == [0, 1, 9]
    assert ends.ps.bytes_received < 3 * 3_000_000
    assert ends.workers[1].sending()
    ends.ps.quota[1] = 3
    ends.until(lambda: len(ends.heard) == 6 and not ends.workers[1].sending())


def test_short_messages_beyond_a_peers_quota_wait_too(ends):
    ends.ps.limits.update({Kind.SLICE: LIMIT})
    ends.ps.quota.update({1: 2})
    for step in range(5):
        ends.workers[1].send(Header(Kind.SLICE, step), bytes(900))
    ends.workers[2].send(Header(Kind.SLICE, 9))
    ends.until(lambda: (2, (Kind.SLICE, 9, b"")) in ends.heard)
    for _ in range(30):
        ends.turn()
    assert [what[1] for source, what in ends.heard if source == 1] == [0, 1]
    assert ends.ps.bytes_received < 3 * 932 + 32
    ends.ps.quota[1] = 3
    ends.until(lambda: len(ends.heard) == 6)


def test_bytes_are_counted_and_nothing_is_under_way_when_all_has_come(ends):
    ends.ps.limits.update({Kind.CLAIM: LIMIT})
    before = ends.ps.bytes_received
    ends.workers[1].send(Header(Kind.CLAIM), bytes(1000))
    ends.workers[2].send(Header(Kind.CLAIM), bytes(500_000))
    ends.until(lambda: len(ends.heard) == 2)
    assert ends.ps.bytes_received - before == 1000 + 500_000 + 64
    ends.until(lambda: not ends.workers[1].sending() and not ends.workers[2].sending())


@pytest.mark.parametrize("frame", [b"", b"short", bytes(32), b"DTX0" + bytes(60), bytes(range(200))])
def test_what_is_no_message_disturbs_nobody_else(ends, frame):
    ends.ps.limits.update({Kind.CLAIM: LIMIT})
    ends.workers[1].send_frame(int(Kind.CLAIM), frame)
    ends.workers[2].send(Header(Kind.CLAIM, 1), b"whole")
    ends.until(lambda: (2, (Kind.CLAIM, 1, b"whole")) in ends.heard)
    assert all(isinstance(what, str) for source, what in ends.heard if source == 1)


def test_of_a_dead_peer_nothing_comes_and_the_others_go_on(ends):
    ends.ps.limits.update({Kind.CLAIM: LIMIT})
    ends.kill(3)
    ends.until(lambda: 3 in ends.ps.dead)
    for rank in (1, 2):
        ends.workers[rank].expect({Kind.WORK: 10})
    ends.ps.send([1, 2, 3], Header(Kind.WORK, 1), b"work")
    ends.workers[1].send(Header(Kind.CLAIM, 1))
    ends.until(lambda: ends.heard and ends.workers[2].turn())
    assert ends.heard == [(1, (Kind.CLAIM, 1, b""))]
    assert ends.ps.sending(3) == 0
