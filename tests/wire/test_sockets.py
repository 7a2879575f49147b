import select
import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from detox.wire.sockets import connections, let_read

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll here")


HOMES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


@pytest.fixture(params=HOMES if socket.has_dualstack_ipv6() else HOMES[:1], ids=lambda home: home[1])
def pair(request):
    """Two ends of a connection, of which a loop waits for the first."""
    family, address = request.param
    with socket.create_server((address, 0), family=family) as server, select.epoll() as loop:
        other = socket.create_connection(server.getsockname()[:2])
        one, _ = server.accept()
        with one, other:
            loop.register(server, select.EPOLLIN)
            loop.register(one, select.EPOLLIN)
            yield one, other, loop


def seen(one, loop):
    return next(found for found in connections() if found.fd == one.fileno() and found.loop == loop.fileno())


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
    assert (before.address, before.events) == (one.getsockname()[0], select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP)
    one.sendall(bytes(1000))
    other.sendall(bytes(70))
    assert len(one.recv(50)) == 50
    after = seen(one, loop)
    assert (after.read - before.read, after.written - before.written) == (50, 1000)
    written = fill(one)
    assert seen(one, loop).written - after.written == written > 2**20


def test_of_one_loop_only_connections_are_found(pair):
    one, _, loop = pair
    one_more, end = socket.socketpair()
    with select.epoll() as elsewhere, one_more, end:
        elsewhere.register(one, select.EPOLLIN)
        loop.register(one_more, select.EPOLLIN)
        assert [found.fd for found in connections(loop.fileno())] == [one.fileno()]
        assert {found.loop for found in connections()} >= {loop.fileno(), elsewhere.fileno()}


def test_what_is_not_handed_on_stays_with_the_peer_until_it_is(pair):
    one, other, loop = pair
    let_read(seen(one, loop), False)
    sent = fill(other)
    assert loop.poll(0) == []
    let_read(seen(one, loop), True)
    assert loop.poll(0) == [(one.fileno(), select.EPOLLIN)]
    came = 0
    while came < sent:
        came += len(one.recv(2**20))


def test_a_socket_that_is_not_read_still_says_when_it_can_be_written_to(pair):
    one, _, loop = pair
    loop.modify(one, select.EPOLLIN | select.EPOLLOUT)
    let_read(seen(one, loop), False)
    assert loop.poll(0) == [(one.fileno(), select.EPOLLOUT)]


def test_a_connection_that_was_looked_at_ends_when_its_owner_closes_it(pair):
    one, other, loop = pair
    found = seen(one, loop)
    let_read(found, False)
    one.close()
    assert other.recv(1) == b""
    let_read(found, True)
    assert connections(loop.fileno()) == []


def test_without_proc_there_are_none(pair, monkeypatch):
    def fail(*_):
        raise FileNotFoundError

    for how in ("iterdir", "read_text"):
        monkeypatch.setattr(Path, how, fail)
    assert connections() == connections(pair[2].fileno()) == []


def test_a_kernel_that_counts_no_bytes_has_none(pair, monkeypatch):
    monkeypatch.setattr("detox.wire.sockets._INFO", struct.Struct("<999x"))
    assert connections(pair[2].fileno()) == []
