"""The connections of this process, as Linux counts what passes over them; one can be kept from being read."""

import fcntl
import os
import re
import select
import socket
import struct
import termios
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_INFO = struct.Struct("<128xQ8xI52xQQ")  # of tcp_info: bytes_received, notsent_bytes, bytes_sent, bytes_retrans
_WATCHED = re.compile(r"tfd: +(\d+) events: +([0-9a-f]+) .* ino:([0-9a-f]+)")

Name = tuple[int, str]
"""What tells a socket from all others that are open: its descriptor and inode."""


class Socket(NamedTuple):
    """A connection of TCP, at one moment.

    Attributes:
        loop: the epoll instance that waits for it, by its file descriptor.
        fd, inode: its own.
        address: this end's, without the port.
        read: bytes that this process has read of it.
        written: bytes that this process has written to it.
        events: what the loop waits for, as in select.EPOLLIN.
    """

    loop: int
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


def connections(loop: int | None = None) -> list[Socket]:
    """Those that an event loop of this process waits for with epoll, as Open MPI's does; or all loops.

    There are none without epoll or /proc, and where the kernel counts no bytes (Linux before 4.19).
    """
    if not (hasattr(select, "epoll") and hasattr(socket, "TCP_INFO")):
        return []
    found = []
    for one in _loops() if loop is None else [loop]:
        with suppress(OSError):
            for fd, events, inode in _WATCHED.findall(Path(f"/proc/self/fdinfo/{one}").read_text()):
                with suppress(OSError, struct.error):  # it listens, or is none of TCP; an old kernel
                    found.append(Socket(one, int(fd), inode, *_counts(int(fd)), int(events, 16)))
    return found


def let_read(one: Socket, on: bool) -> None:
    """Lets its loop see what comes on a socket, or not: then it stays in the kernel, and with the peer.

    The loop does not know: once it waits for something else on this socket, it may see all of it again.
    """
    with suppress(OSError):  # closed since it was looked at
        loop = select.epoll.fromfd(os.dup(one.loop))
        try:
            loop.modify(one.fd, one.events | select.EPOLLIN if on else one.events & ~select.EPOLLIN)
        finally:
            loop.close()


def _loops() -> list[int]:
    found = []
    with suppress(OSError):
        for one in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if str(one.readlink()) == "anon_inode:[eventpoll]":
                    found.append(int(one.name))
    return found


def _counts(fd: int) -> tuple[str, int, int]:
    """This end's address, bytes read and bytes written."""
    # A second descriptor would keep the connection open when MPI closes its own.
    stream = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        waiting = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
        came, unsent, sent, resent = _INFO.unpack(stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
        return str(stream.getsockname()[0]), came - int.from_bytes(waiting, "little"), sent - resent + unsent
    finally:
        stream.detach()
