import select
import socket
from contextlib import suppress

import pytest

from detox.wire.sockets import Sockets

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll here")


@pytest.fixture
def pair():
    """Two ends of a connection, of which a loop waits for the first."""
    with socket.create_server(("127.0.0.1", 0)) as server, select.epoll() as loop:
        other = socket.create_connection(server.getsockname())
        one, _ = server.accept()
        with one, other:
            loop.register(server, select.EPOLLIN)
            loop.register(one, select.EPOLLIN)
            yield one, other, loop


def seen(one, loop):
    return next(found for found in Sockets().look() if found.fd == one.fileno() and found.loop == loop.fileno())


def fill(stream):
    """Sends for as long as the other end takes it; how many bytes."""
    stream.setblocking(False)
    sent = 0
    with suppress(BlockingIOError):
        while True:
            sent += stream.send(bytes(2**20))
    return sent


def test_what_comes_and_goes_is_counted(pair):
    one, other, loop = pair
    before = seen(one, loop)
    assert (before.near, before.events) == ("127.0.0.1", select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP)
    one.sendall(bytes(1000))
    other.sendall(bytes(70))
    select.select([one], [], [])
    after = seen(one, loop)
    assert (after.read - before.read, after.written - before.written) == (70, 1000)
    written = fill(one)
    assert seen(one, loop).written - after.written == written > 2**20


def test_of_one_loop_only_connections_are_found(pair):
    one, _, loop = pair
    one_more, end = socket.socketpair()
    with select.epoll() as elsewhere, one_more, end:
        elsewhere.register(one, select.EPOLLIN)
        loop.register(one_more, select.EPOLLIN)
        assert [found.fd for found in Sockets().look(loop.fileno())] == [one.fileno()]
        assert {found.loop for found in Sockets().look()} >= {loop.fileno(), elsewhere.fileno()}


def test_what_is_not_handed_on_stays_with_the_peer_until_it_is(pair):
    one, other, loop = pair
    Sockets().hand_on(seen(one, loop), False)
    sent = fill(other)
    assert loop.poll(0) == []
    Sockets().hand_on(seen(one, loop), True)
    assert loop.poll(0) == [(one.fileno(), select.EPOLLIN)]
    came = 0
    while came < sent:
        came += len(one.recv(2**20))


def test_a_socket_that_is_not_read_still_says_when_it_can_be_written_to(pair):
    one, _, loop = pair
    loop.modify(one, select.EPOLLIN | select.EPOLLOUT)
    Sockets().hand_on(seen(one, loop), False)
    assert loop.poll(0) == [(one.fileno(), select.EPOLLOUT)]


def test_a_connection_that_was_looked_at_ends_when_its_owner_closes_it(pair):
    one, other, loop = pair
    sockets = Sockets()
    found = seen(one, loop)
    sockets.hand_on(found, False)
    one.close()
    assert other.recv(1) == b""
    sockets.hand_on(found, True)
    assert [found.fd for found in sockets.look(loop.fileno())] == []
