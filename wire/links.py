"""How much MPI may hold of a peer that nobody has taken: beyond it, the connection to that peer is read no more."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from detox.wire import sockets as linux
from detox.wire.owners import Kernel, Owners
from detox.wire.sockets import Name, Socket

HELD = 2**19
"""Bytes of one peer that nobody has taken, beyond which it is not read. Of a message of a byte MPI keeps many times."""
_EVERY = 0.03  # seconds: a look at 45 sockets takes 0.2 ms
_MESSAGE = 128  # bytes besides a message's own, at most: MPI's headers, and what it says of one that came
_PART = 512  # of a long message, one byte more in so many is for the headers of its parts


class Links:
    """The connections that MPI has with other ranks, and what it has read of each that nobody has taken.

    MPI reads all that comes, and keeps what nobody waits for: a peer that sends messages of another communicator, a
    collective that nobody else calls, or the beginnings of thousands of messages, fills this rank's memory. The kernel
    counts what MPI has read of a connection; Transport says what it has taken, and what it is receiving. Where more
    than HELD is left, the connection is read no more: the kernel's buffer fills, and the rest waits with the peer,
    until this rank has taken what MPI holds of it.

    What MPI's headers take is estimated, and rather too high. So at each look what is due of a peer, read and still to
    come, is no more than what was read and what is awaited: the rest of the estimates was never sent, and would be
    leave to send so much of anything later.

    A socket that nobody is known to own (see Owners) may have brought as much as was expected and taken of the one peer
    that may own it, if that is more than of any other: of two sockets at the same address of this host, no peer has
    both. What comes without Transport, by collectives, is held by nobody's account, so `begin_anew` has to follow it.

    Nothing is stopped before a socket of a peer is known, nor where there are none: outside Linux, or with an MPI that
    does not wait with epoll.

    Args:
        kernel: the sockets.
        clock: seconds, monotonic.
    """

    def __init__(self, kernel: Kernel = linux, clock: Callable[[], float] = time.monotonic) -> None:
        self._kernel = kernel
        self._clock = clock
        self._owners = Owners(kernel)
        self._due = Counter[int]()  # bytes of a peer that were taken, or will be
        self._awaited = Counter[int]()  # those of them that MPI may not have read yet
        self._expected = Counter[int]()  # those of them that were not refused
        self._before: dict[Name, int] = {}  # bytes that had been read of a socket by the beginning
        self._stopped: set[Name] = set()
        self._next = 0.0
        self.begin_anew()

    @contextmanager
    def sending(self, peer: int, size: int) -> Iterator[None]:
        """While this runs, a message of so many bytes is sent to a peer, and nothing else; `sent` is to follow."""
        with self._owners.sending(peer):
            yield
        self._await(peer, _headers(size))

    def sent(self, peer: int, size: int) -> None:
        """A message of so many bytes has been sent."""
        self._awaited[peer] -= _headers(size)

    def take(self, peer: int, size: int, expected: bool = True) -> None:
        """So many bytes that have come of a peer are taken, with the headers of their message."""
        self.receiving(peer, size, expected)
        self.received(peer, size)

    def receiving(self, peer: int, size: int, expected: bool = True) -> None:
        """So many bytes of a message of the peer's are being received; `received` is to follow."""
        self._await(peer, size + _headers(size))
        if expected:
            self._expected[peer] += size + _headers(size)

    def received(self, peer: int, size: int) -> None:
        """So many bytes that were being received have come."""
        self._awaited[peer] -= size + _headers(size)

    def look(self) -> None:
        """Stops reading where too much is held, if it is time to look, and goes on where it is not any more."""
        now = self._clock()
        if self._owners.loop is None or now < self._next:
            return
        self._next = now + _EVERY
        sockets = self._kernel.connections(self._owners.loop)
        self._forget_all_but(sockets)
        stopped = {one.name for one, held in zip(sockets, self._held(sockets), strict=True) if held > HELD}
        for one in sockets:
            if one.name in stopped:  # once more where it was before: the loop may have begun to read by itself
                self._kernel.let_read(one, False)
            elif one.name in self._stopped:
                self._kernel.let_read(one, True)
        self._stopped = stopped

    def begin_anew(self) -> None:
        """Reads on everywhere; of what has come so far nothing is held against anybody."""
        sockets = self._kernel.connections(self._owners.loop)
        for one in sockets:
            if one.name in self._stopped:
                self._kernel.let_read(one, True)
        self._stopped = set()
        self._due = self._awaited.copy()
        self._expected.clear()
        self._before = {one.name: one.read for one in sockets}

    def _await(self, peer: int, size: int) -> None:
        self._due[peer] += size
        self._awaited[peer] += size

    def _forget_all_but(self, sockets: Sequence[Socket]) -> None:
        names = {one.name for one in sockets}
        self._owners.forget_all_but(names)
        self._before = {name: size for name, size in self._before.items() if name in names}

    def _held(self, sockets: Sequence[Socket]) -> list[int]:
        """Of each, the bytes that were read of its peer, over all its sockets, and that nobody has taken."""
        owners = [self._owners.of(one) for one in sockets]
        came = [one.read - max(self._before.get(one.name, 0), self._owners.since(one)) for one in sockets]
        of = Counter[int]()
        for owner, size in zip(owners, came, strict=True):
            if owner is not None:
                of[owner] += size
        for peer, size in of.items():
            self._due[peer] = min(self._due[peer], size + self._awaited[peer])
        held = []
        for one, owner, size in zip(sockets, owners, came, strict=True):
            if owner is None:
                known = {peer for other, peer in zip(sockets, owners, strict=True) if other.address == one.address}
                held.append(size - max((due for peer, due in self._expected.items() if peer not in known), default=0))
            else:
                held.append(of[owner] - self._due[owner])
        return held


def _headers(size: int) -> int:
    """What comes besides a message of so many bytes, at most, whichever way it goes."""
    return _MESSAGE + size // _PART
