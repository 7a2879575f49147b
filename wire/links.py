"""How much MPI may hold of a peer that nobody has taken: beyond it, the connection to that peer is read no more."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from detox.wire.sockets import Socket, Sockets

HELD = 2**19
"""Bytes of one peer that nobody has taken, at most. MPI needs many times that for messages of a byte."""
_EVERY = 0.03  # seconds: a look at 45 sockets takes 0.17 ms
_MESSAGE = 128  # bytes besides a message's own, at most: MPI's headers, and what it says of one that came
_PART = 512  # of a long message, one byte more in so many is for the headers of its parts
_TRIES = 8  # messages that show whether a peer has more sockets than the first: one for each network, in turns


_Name = tuple[int, str]


class _Kernel(Protocol):
    def look(self, loop: int | None = None) -> list[Socket]: ...
    def hand_on(self, one: Socket, what: bool) -> None: ...


class Links:
    """The connections that MPI has with other ranks, and what has come over each that nobody has taken.

    MPI reads all that comes, and keeps what nobody waits for: a peer that sends messages of another communicator, a
    collective that nobody else calls, or the beginnings of thousands of messages, fills this rank's memory. How much
    has come over a connection, the kernel knows. How much of that was taken, and what is still to come, Transport says,
    which counts too much rather than too little: a message's share of MPI's headers is estimated. What has not come and
    is not awaited was never sent, so the estimates do not add up to something that a peer may send later.
    Where HELD bytes more have come than that, what comes next is left to the kernel: its buffer fills, and
    the rest waits with the peer, until this rank has taken what MPI holds of it.

    Whose a socket is, is seen from what leaves through it while this rank sends to a peer, which nobody else can feign.
    One that nobody is known to own may have brought as much as was taken of the one peer that may own it, if that is
    more than any other: of two sockets at the same address of this host, no peer has both.

    It does nothing where Sockets finds none: outside Linux, or with an MPI that does not wait with epoll.

    Args:
        kernel: the sockets.
        clock: seconds, monotonic.
    """

    def __init__(self, kernel: _Kernel | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._kernel = kernel or Sockets()
        self._clock = clock
        self._loop: int | None = None  # MPI's, as soon as a socket of a peer is known
        self._before = self._read_so_far()
        self._owner: dict[_Name, int] = {}
        self._homes = defaultdict[str, set[int]](set)  # peers of which a socket at an address of this host is known
        self._last: dict[_Name, int] = {}  # to whom it sent when it was last seen to
        self._tries = Counter[int]()  # by peer of which a socket is known
        self._due = Counter[int]()  # bytes that have been taken of a peer, or will be
        self._awaited = Counter[int]()  # those of them that may not have come
        self._wanted = Counter[int]()  # of those that are due, what was expected
        self._stopped: set[_Name] = set()
        self._next = 0.0

    @contextmanager
    def sending(self, peer: int, size: int) -> Iterator[None]:
        """While this runs, a message of so many bytes is sent to a peer, and nothing else; `sent` is to follow."""
        self._await(peer, _headers(size))
        before: dict[_Name, Socket] = {}
        if self._tries[peer] < _TRIES:
            before = self._unknown()
            self._tries[peer] += peer in self._owner.values()
        yield
        if before:
            wrote = [one for one in self._unknown().values() if one.written > before.get(one.name, one).written]
            if len(wrote) == 1:
                self._saw(wrote[0], peer)

    def sent(self, peer: int, size: int) -> None:
        """A message of so many bytes has been sent."""
        self._awaited[peer] -= _headers(size)

    def take(self, peer: int, size: int, wanted: bool = True) -> None:
        """So many bytes that have come of a peer are taken, with the headers of their message."""
        self.receiving(peer, size, wanted)
        self.received(peer, size)

    def receiving(self, peer: int, size: int, wanted: bool = True) -> None:
        """So many bytes of a message of the peer's are being received; `received` is to follow."""
        self._await(peer, size + _headers(size))
        if wanted:
            self._wanted[peer] += size + _headers(size)

    def received(self, peer: int, size: int) -> None:
        """So many bytes that were being received have come."""
        self._awaited[peer] -= size + _headers(size)

    def look(self) -> None:
        """Stops reading where too much is held, if it is time to look, and goes on where it is not any more."""
        if self._loop is None or self._clock() < self._next:
            return
        self._next = self._clock() + _EVERY
        sockets = self._kernel.look(self._loop)
        came = Counter[int]()
        for one in sockets:
            if (owner := self._owner.get(one.name)) is not None:
                came[owner] += self._came(one)
        for owner, size in came.items():
            self._due[owner] = min(self._due[owner], size + self._awaited[owner])
        for one in sockets:
            owner = self._owner.get(one.name)
            held = self._came(one) - self._claimable(one) if owner is None else came[owner] - self._due[owner]
            if held > HELD:
                self._stopped.add(one.name)
                self._kernel.hand_on(one, False)
            elif one.name in self._stopped:
                self._stopped.remove(one.name)
                self._kernel.hand_on(one, True)

    def begin_anew(self) -> None:
        """Reads on everywhere; what has come so far is counted no more."""
        for one in self._kernel.look(self._loop):
            if one.name in self._stopped:
                self._kernel.hand_on(one, True)
        self._stopped.clear()
        for counted in (self._due, self._awaited, self._wanted):
            counted.clear()
        self._before = self._read_so_far()

    def _await(self, peer: int, size: int) -> None:
        self._due[peer] += size
        self._awaited[peer] += size

    def _read_so_far(self) -> dict[_Name, int]:
        return {one.name: one.read for one in self._kernel.look(self._loop)}

    def _came(self, one: Socket) -> int:
        return one.read - self._before.get(one.name, 0)

    def _unknown(self) -> dict[_Name, Socket]:
        """Sockets that nobody is known to own."""
        return {one.name: one for one in self._kernel.look(self._loop) if one.name not in self._owner}

    def _saw(self, one: Socket, peer: int) -> None:
        """Something left through it while a message to the peer was sent; twice running, it is no chance."""
        if self._last.get(one.name) == peer:
            self._owner[one.name], self._loop = peer, one.loop
            self._before[one.name] = one.read
            self._homes[one.near].add(peer)
        self._last[one.name] = peer

    def _claimable(self, one: Socket) -> int:
        """What may have come over a socket that nobody is known to own."""
        known = self._homes[one.near]
        return max((size for peer, size in self._wanted.items() if peer not in known), default=0)


def _headers(size: int) -> int:
    """What comes besides a message of so many bytes, at most, whichever way it goes."""
    return _MESSAGE + size // _PART
