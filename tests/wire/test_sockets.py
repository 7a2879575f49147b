import os
import resource
import select
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from detox.wire.sockets import Loop, listening

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
            yield one, other, loop, Loop(loop.fileno)


def seen(one, seer):
    return next(found for found in seer.connections() if found.fd == one.fileno())


def fill(stream):
    """Sends for as long as the other end takes it; how many bytes."""
    stream.setblocking(False)
    sent = 0
    with suppress(BlockingIOError):
        while True:
            sent += stream.send(bytes(2**20))
    return sent


def test_what_comes_and_goes_is_counted(pair):
    one, other, _, seer = pair
    before = seen(one, seer)
    assert (before.address, before.events) == (one.getsockname()[0], select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP)
    one.sendall(bytes(1000))
    other.sendall(bytes(70))
    select.select([one], [], [])
    assert len(one.recv(50)) == 50
    after = seen(one, seer)
    assert (after.read - before.read, after.written - before.written) == (50, 1000)
    written = fill(one)
    assert seen(one, seer).written - after.written == written > 2**20


def test_of_one_loop_only_connections_are_found(pair):
    one, _, loop, seer = pair
    one_more, end = socket.socketpair()
    with select.epoll() as elsewhere, one_more, end, socket.socket() as unused:
        elsewhere.register(unused, select.EPOLLIN)
        loop.register(one_more, select.EPOLLIN)
        assert [found.fd for found in seer.connections()] == [one.fileno()]
        assert seer.connections(but={seen(one, seer).name}) == []


def test_all_of_many_are_found(pair):
    one, _, loop, seer = pair
    found = len(seer.connections())
    ends = [socket.socketpair() for _ in range(200)]
    for end, _ in ends:
        loop.register(end, select.EPOLLIN)
    loop.modify(one, select.EPOLLIN)
    assert len(seer.connections()) == found == 1
    for pair in ends:
        for end in pair:
            end.close()


def test_a_loop_in_which_a_socket_listens_is_found(pair):
    _, other, loop, _ = pair
    with select.epoll() as elsewhere:
        elsewhere.register(other, select.EPOLLIN)
        assert listening() == loop.fileno()


def test_what_is_not_handed_on_stays_with_the_peer_until_it_is(pair):
    one, other, loop, seer = pair
    seer.let_read(seen(one, seer), False)
    sent = fill(other)
    assert loop.poll(0) == []
    seer.let_read(seen(one, seer), True)
    assert loop.poll(0) == [(one.fileno(), select.EPOLLIN)]
    came = 0
    while came < sent:
        came += len(one.recv(2**20))


def test_a_socket_that_is_not_read_still_says_when_it_can_be_written_to(pair):
    one, _, loop, seer = pair
    loop.modify(one, select.EPOLLIN | select.EPOLLOUT)
    seer.let_read(seen(one, seer), False)
    assert loop.poll(0) == [(one.fileno(), select.EPOLLOUT)]


def test_a_connection_that_was_looked_at_ends_when_its_owner_closes_it(pair):
    one, other, _, seer = pair
    found = seen(one, seer)
    seer.let_read(found, False)
    one.close()
    assert other.recv(1) == b""
    seer.let_read(found, True)
    assert seer.connections() == []


def test_it_is_done_where_no_descriptors_are_left(pair):
    one, _, loop, seer = pair
    before, late = seen(one, seer), Loop(loop.fileno)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)
        assert seen(one, seer) == before
        assert late.connections() == []
        seer.let_read(before, False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert seen(one, seer).events & select.EPOLLIN == seen(one, late).events & select.EPOLLIN == 0
    assert loop.poll(0) == []


def test_without_proc_there_are_none(pair, monkeypatch):
    def fail(*_):
        raise FileNotFoundError

    for how in ("iterdir", "read_bytes"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, how, fail)
            assert listening() is None


def test_a_kernel_that_counts_no_bytes_has_none(pair, monkeypatch):
    class Old(socket.socket):
        def getsockopt(self, level, option, *size):
            told = super().getsockopt(level, option, *size)
            return told[:104] if size else told  # as in Linux 3

    monkeypatch.setattr(socket, "socket", Old)
    assert pair[3].connections() == []
