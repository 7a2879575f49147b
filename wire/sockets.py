"""MPI's connections, as Linux counts what passes over them; one can be kept from being read."""

import fcntl
import os
import re
import select
import socket
import struct
import sys
import termios
from collections.abc import Callable, Container
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_INFO = struct.Struct("<128xQ8xI52xQQ")  # of tcp_info: bytes_received, notsent_bytes, bytes_sent, bytes_retrans
_WATCHED = re.compile(rb"tfd: +(\d+) events: +([0-9a-f]+) .* ino:([0-9a-f]+)")

Name = tuple[int, str]
"""What tells a socket from all others that are open: its descriptor and inode."""


class Socket(NamedTuple):
    """A connection of TCP, at one moment.

    Attributes:
        fd, inode: its own.
        address: this end's, without the port.
        read: bytes that this process has read of it.
        written: bytes that this process has written to it.
        events: what the loop waits for, as in select.EPOLLIN.
    """

    fd: int
    inode: str
    address: str
    read: int
    written: int
    events: int

    @property
    def name(self) -> Name:
        """What tells it from all others that are open."""
        return self.fd, self.inode


class Loop:
    """An event loop of this process that waits for its sockets with epoll.

    What it takes to look at it is kept open, for somebody may take all descriptors that there are.

    Args:
        find: the epoll instance, by its descriptor; None where there is none yet. It is called until there is one.
    """

    def __init__(self, find: Callable[[], int | None]) -> None:
        self._find = find
        self._epoll: select.epoll | None = None
        self._info = -1
        self._room = 2**12

    def connections(self, but: Container[Name] = ()) -> list[Socket]:
        """Those that it waits for, but for these; none where the kernel counts no bytes (Linux before 4.19)."""
        if self._info < 0:
            if (loop := self._find()) is None:
                return []
            try:
                self._epoll = select.epoll.fromfd(os.dup(loop))
                self._info = os.open(f"/proc/self/fdinfo/{loop}", os.O_RDONLY)
            except OSError:  # no descriptors are left by now
                return []
        found = []
        for fd, events, inode in _WATCHED.findall(self._told()):
            if (int(fd), inode.decode()) in but:
                continue
            with suppress(OSError, struct.error):  # it listens, or is none of TCP; an old kernel
                found.append(Socket(int(fd), inode.decode(), *_counts(int(fd)), int(events, 16)))
        return found

    def let_read(self, one: Socket, on: bool) -> None:
        """Lets it see what comes on a socket, or not: then that stays in the kernel, and with the peer.

        It does not know: once it waits for something else on this socket, it sees all of it again.
        """
        if self._epoll is not None:
            with suppress(OSError):  # closed since it was looked at
                self._epoll.modify(one.fd, one.events | select.EPOLLIN if on else one.events & ~select.EPOLLIN)

    def _told(self) -> bytes:
        """What the kernel says of it."""
        while len(told := os.pread(self._info, self._room, 0)) == self._room:
            self._room *= 2
        return told


def listening() -> int | None:
    """The epoll instance that waits for others to connect to this process, as Open MPI's does once it has looked.

    There is none without epoll or /proc.
    """
    if hasattr(select, "epoll") and hasattr(socket, "TCP_INFO"):
        with suppress(OSError):
            for one in Path("/proc/self/fd").iterdir():
                with suppress(OSError):
                    if str(one.readlink()) == "anon_inode:[eventpoll]" and _waits(int(one.name)):
                        return int(one.name)
    return None


def _waits(loop: int) -> bool:
    return any(_listens(int(fd)) for fd, _, _ in _WATCHED.findall(Path(f"/proc/self/fdinfo/{loop}").read_bytes()))


def _listens(fd: int) -> bool:
    with suppress(OSError):  # it may be no socket at all
        stream = _borrow(fd)
        try:
            return bool(stream.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        finally:
            stream.detach()
    return False


def _counts(fd: int) -> tuple[str, int, int]:
    """This end's address, bytes read and bytes written."""
    stream = _borrow(fd)
    try:
        waiting = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
        came, unsent, sent, resent = _INFO.unpack(stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
        return str(stream.getsockname()[0]), came - int.from_bytes(waiting, sys.byteorder), sent - resent + unsent
    finally:
        stream.detach()


def _borrow(fd: int) -> socket.socket:
    """A socket by its descriptor, which is to be detached: it is MPI's, and a second one would keep it open."""
    return socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=fd)
