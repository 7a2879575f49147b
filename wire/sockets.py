"""The connections of this process, as Linux counts what passes over them; it can be told to hand on nothing of one."""

import os
import re
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_INFO = struct.Struct("<B127xQ8xI52xQQ")  # of tcp_info: state, bytes_received, notsent_bytes, bytes_sent, bytes_retrans
_LISTENS = 10
_WATCHED = re.compile(r"tfd: +(\d+) events: +([0-9a-f]+) .* ino:([0-9a-f]+)")


class Socket(NamedTuple):
    """A connection of TCP, at one moment.

    Attributes:
        loop: the epoll instance that waits for it, by its file descriptor.
        fd, inode: its own; together they name it for as long as it is open.
        near: this end's address, without the port.
        read: bytes that have come, those in the kernel's buffer included.
        written: bytes that this process has written to it.
        events: what the loop waits for, as in select.EPOLLIN.
    """

    loop: int
    fd: int
    inode: str
    near: str
    read: int
    written: int
    events: int

    @property
    def name(self) -> tuple[int, str]:
        """What tells it from all others."""
        return self.fd, self.inode


class Sockets:
    """Those that event loops of this process wait for with epoll, as Open MPI's does.

    Where there is no epoll, or the kernel counts no bytes (Linux before 4.19), there are none.
    """

    def __init__(self) -> None:
        self._near: dict[tuple[int, str], str] = {}

    def look(self, loop: int | None = None) -> list[Socket]:
        """The sockets that are open now: of one loop, or of all."""
        if not (hasattr(select, "epoll") and hasattr(socket, "TCP_INFO")):
            return []
        return [found for one in (_loops() if loop is None else [loop]) for found in self._of(one)]

    def hand_on(self, one: Socket, what: bool) -> None:
        """Lets the loop see what comes on a socket, or not: then it stays in the kernel, and with the peer.

        The loop does not know: once it waits for something else on this socket, it may see all of it again.
        """
        loop = select.epoll.fromfd(os.dup(one.loop))
        try:
            with suppress(OSError):  # closed since it was looked at
                loop.modify(one.fd, one.events | select.EPOLLIN if what else one.events & ~select.EPOLLIN)
        finally:
            loop.close()

    def _of(self, loop: int) -> Iterator[Socket]:
        try:
            watched = _WATCHED.findall(Path(f"/proc/self/fdinfo/{loop}").read_text())
        except OSError:
            return
        for number, events, inode in watched:
            fd = int(number)
            try:
                # A second descriptor would keep the connection open when MPI closes its own.
                stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
                try:
                    told = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
                    near = self._near.get((fd, inode)) or str(stream.getsockname()[0])
                finally:
                    stream.detach()
                state, read, unsent, sent, again = _INFO.unpack(told)
            except (OSError, struct.error):  # no TCP; an old kernel
                continue
            if state != _LISTENS:
                self._near[fd, inode] = near
                yield Socket(loop, fd, inode, near, read, sent - again + unsent, int(events, 16))


def _loops() -> list[int]:
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if str(one.readlink()) == "anon_inode:[eventpoll]":
                found.append(int(one.name))
    return found
