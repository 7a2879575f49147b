"""Ranks that reach each other over TCP: what they say of themselves, what they are told, and what waits for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.wire import Header, Kind, WireError, keys
from detox.wire.dialer import Dialer
from detox.wire.directory import SAID_LIMIT, Directory, Talk, heard, say, told
from detox.wire.keys import Keys
from detox.wire.listener import Listener
from detox.wire.mesh import Crossing
from detox.wire.tcp import Channel

PORTS = st.dictionaries(st.sampled_from(Talk), st.integers(0, 2**16 - 1))


@given(PORTS)
def test_what_a_rank_says_is_what_is_heard(ports):
    assert heard(say(ports)) == ports
    assert len(say(ports)) <= SAID_LIMIT


@given(st.binary(max_size=SAID_LIMIT))
def test_what_is_heard_is_ports_or_an_error(content):
    try:
        ports = heard(content)
    except WireError:
        return
    assert all(talk in Talk and 0 <= port < 2**16 for talk, port in ports.items())


def test_ranks_are_told_of_those_that_listen_at_the_hosts_that_they_come_from():
    directory = Directory({1: "10.0.0.1", 2: "fd00::2", 3: "10.0.0.3"})
    assert directory.tell([1, 2, 3]) == b""
    directory.enter(1, {Talk.NEAR: 4000, Talk.AMONG: 4001})
    directory.enter(2, {Talk.NEAR: 5000})
    directory.enter(3, {Talk.NEAR: 0})
    assert told(directory.tell([1, 2, 3])) == {
        Talk.NEAR: {1: ("10.0.0.1", 4000), 2: ("fd00::2", 5000)},
        Talk.AMONG: {1: ("10.0.0.1", 4001)},
    }
    assert told(directory.tell([2, 3])) == {Talk.NEAR: {2: ("fd00::2", 5000)}, Talk.AMONG: {}}
    assert directory.parties([1, 2, 3], Talk.NEAR) == {1: 4000, 2: 5000, 3: 0}
    assert directory.parties([1, 2, 3], Talk.AMONG) == {1: 4001}


@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_loopback_address_is_told_only_where_all_ranks_come_from_one(loopback):
    directory = Directory({1: loopback, 2: "10.0.0.2", 3: loopback})
    for rank, port in {1: 4000, 2: 5000, 3: 0}.items():
        directory.enter(rank, {Talk.NEAR: port})
    assert told(directory.tell([1, 2, 3]))[Talk.NEAR] == {2: ("10.0.0.2", 5000)}
    assert directory.parties([1, 2, 3], Talk.NEAR) == {2: 5000, 3: 0}
    assert told(directory.tell([1, 3]))[Talk.NEAR] == {1: (loopback, 4000)}


@pytest.fixture
def pair(tmp_path):
    """Rank 1, which listens, and rank 2, which learns where when the test says so."""
    keys.make(tmp_path / "keys", range(2))
    own = [Keys(tmp_path / "keys" / keys.worker_folder(worker)) for worker in range(2)]
    listener = Listener(("127.0.0.1", 0), own[0])
    crossings = [
        Crossing(listener, None, [], 0),
        Crossing(None, lambda rank, at: Dialer(at, own[1], peer=rank), [1], 0),
    ]
    ends = [Channel(crossings[0], [2], kept=3), Channel(crossings[1], [1], kept=3)]
    for end in ends:
        end.limits.update({Kind.SLICE: 10})
    yield (*ends, lambda: crossings[1].learn({1: ("127.0.0.1", listener.port)}))
    for end in ends:
        end.close()


def until(condition, *ends):
    came = []
    while not condition(came):
        for end in ends:
            came += [(message.source, message.header.step) for message in end.receive() if not message.fault]
    return came


def test_the_newest_messages_wait_for_a_rank_that_was_never_there(pair):
    one, other, introduce = pair
    for step in range(5):
        one.send([2], Header(Kind.SLICE, step))
    assert not one.dead
    assert not other.dead
    assert one.sending(2) == 3
    introduce()
    assert until(lambda came: len(came) == 3, one, other) == [(1, 2), (1, 3), (1, 4)]


def test_a_rank_is_dead_while_its_connection_is_lost_and_then_nothing_waits_for_it(pair):
    one, other, introduce = pair
    introduce()
    until(lambda _: one.hosts and other.hosts, one, other)
    one.send_frame([2], 0, Header(Kind.SLICE, 1).frame(bytes(2**17)))  # longer than anything may be
    until(lambda _: one.dead, one, other)
    assert other.dead == {1}
    one.send([2], Header(Kind.SLICE, 2))
    assert one.sending(2) == 0
    until(lambda _: not one.dead and not other.dead, one, other)
    one.send([2], Header(Kind.SLICE, 3))
    assert until(lambda came: came, one, other) == [(1, 3)]


def test_a_rank_of_which_nothing_is_told_any_more_is_dialled_no_more():
    dialled = []

    class Dials:
        def __init__(self, rank, address):
            self.name = rank, address
            dialled.append(self.name)

        def close(self):
            dialled.remove(self.name)

    crossing = Crossing(None, Dials, [1, 2], 0)
    for addresses in (
        {1: ("10.0.0.1", 4000), 2: ("10.0.0.2", 5000)},
        {2: ("10.0.0.2", 5000)},
        {1: ("10.0.0.1", 4001), 2: ("10.0.0.2", 5000)},
        {},
    ):
        crossing.learn(addresses)
        assert sorted(dialled) == sorted(addresses.items())
