"""The end that listens: it asks who is there, and what it spends on those that prove nothing is bounded."""

import errno
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from detox.wire.connection import Connection, EntranceError, tune
from detox.wire.keys import Keys
from detox.wire.tls import Stream

_PATIENCE = 5.0  # seconds, from when it is let in, for a guest to prove itself
_GUESTS = 128  # that have not yet proven themselves
_ACCEPTED = 16  # at a time
_BACKLOG = 128


class _Guest(NamedTuple):
    stream: Stream
    address: str
    until: float


class Listener:
    """The end that is dialled, by ranks that prove who they are.

    Guests that prove nothing cost a bounded amount: so many at a time, for so many seconds, and where there are more
    the oldest of the address with the most of them goes.

    Args:
        address: host and port; port 0: any that is free.
        keys: of this end.
        clock: seconds, monotonic.

    Attributes:
        port: that it listens on.
        refused: how many guests were sent away.

    Raises:
        EntranceError: the address cannot be listened on.
    """

    def __init__(self, address: tuple[str, int], keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self.refused = 0
        self._keys = keys
        self._context = keys.listening
        self._clock = clock
        self._guests: dict[Stream, _Guest] = {}
        host, port = address
        try:
            family, kind, protocol, _, found = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self._socket = socket.socket(family, kind, protocol)
        except OSError as error:
            raise EntranceError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tune(self._socket)  # before connections have their buffers
            self._socket.bind(found)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._socket.close()
            raise EntranceError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        self.port: int = self._socket.getsockname()[1]

    def arrivals(self, missing: Collection[int]) -> Iterator[Connection]:
        """Those that have proven who they are; a peer that has a connection may come with a new one all the same."""
        for _ in range(_ACCEPTED):
            if not self._accept():
                break
        for guest in list(self._guests.values()):
            try:
                agreed = guest.stream.agree()
            except OSError:
                self._refuse(guest)
                continue
            rank = self._keys.whose(guest.stream.certificate) if agreed else None
            if rank is not None:
                del self._guests[guest.stream]
                yield Connection(guest.stream, rank)
            elif agreed or self._clock() > guest.until:
                self._refuse(guest)

    def _accept(self) -> bool:
        """Lets the next guest in; whether there was one."""
        try:
            stream, address = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM) and self._guests:
                self._refuse(next(iter(self._guests.values())))
            return False
        try:
            tune(stream)
            wrapped = Stream(stream, self._context, listening=True)
        except OSError:  # it is gone already
            stream.close()
            return True
        self._guests[wrapped] = _Guest(wrapped, str(address[0]), self._clock() + _PATIENCE)
        if len(self._guests) > _GUESTS:
            crowd, _ = Counter(guest.address for guest in self._guests.values()).most_common(1)[0]
            self._refuse(next(guest for guest in self._guests.values() if guest.address == crowd))
        return True

    def _refuse(self, guest: _Guest) -> None:
        del self._guests[guest.stream]
        guest.stream.close()
        self.refused += 1

    def watch(self, poll: select.poll) -> None:
        """Wakes up for guests."""
        poll.register(self._socket, select.POLLIN)
        for stream in self._guests:
            poll.register(stream, select.POLLIN)

    def close(self) -> None:
        """Listens no longer."""
        self._socket.close()
        for guest in list(self._guests.values()):
            self._refuse(guest)
