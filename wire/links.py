"""How much MPI may hold of a peer that nobody has taken: beyond it, the connection to that peer is read no more."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from detox.wire.ob1 import PART_HEADER, answer, at_once, behind
from detox.wire.owners import Kernel, Owners
from detox.wire.sockets import Name, Socket

HELD = 2**19
"""Bytes of one peer that nobody has taken, beyond which it is not read. Of a message of a byte MPI keeps many times."""
_EVERY, _EACH = 0.03, 0.002  # seconds between two looks, at least in all and for each socket: of each it takes 5 us
_SOON = 0.1  # of that, while one is stopped: MPI begins to read it again whenever it has to wait to write to it


class Links:
    """The connections that MPI has with other ranks, and what it has read of each that nobody has taken.

    MPI reads all that comes, and keeps what nobody waits for: a peer that sends messages of another communicator, a
    collective that nobody else calls, or the beginnings of thousands of messages, fills this rank's memory. The kernel
    counts what MPI has read of a connection; Transport says what it has taken, and what it is receiving. Where more
    than HELD is left, the connection is read no more: the kernel's buffer fills, and the rest waits with the peer,
    until this rank has taken what MPI holds of it.

    What a message takes with its headers is known to the byte (detox.wire.ob1), over several connections nearly so. At
    each look, what is due of a peer becomes at most what was read of it and what is awaited: of an estimate that is too
    high the rest was never sent, and would be leave to send so much of anything.

    A socket that nobody is known to own (see Owners) may have brought as much as was expected and taken of the one peer
    that may own it, if that is more than of any other: of two sockets at the same address of this host, no peer has
    both. What comes without Transport, by collectives, nobody takes, so `begin_anew` has to follow it.

    Args:
        kernel: MPI's sockets; where it has none, nothing is done.
        clock: seconds, monotonic.
    """

    def __init__(self, kernel: Kernel, clock: Callable[[], float] = time.monotonic) -> None:
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
        self._due[peer] += answer(size)
        self._awaited[peer] += answer(size)

    def sent(self, peer: int, size: int) -> None:
        """A message of so many bytes has been sent."""
        self._awaited[peer] -= answer(size)

    def take(self, peer: int, size: int, expected: bool = True) -> None:
        """A message of so many bytes of a peer's has begun to come, and is taken from MPI."""
        self._count(peer, at_once(size), expected)

    def receiving(self, peer: int, size: int, expected: bool = True) -> None:
        """The rest of it is being received; `received` is to follow."""
        self._count(peer, behind(size), expected)
        self._awaited[peer] += behind(size)

    def received(self, peer: int, size: int) -> None:
        """All of it has come."""
        self._awaited[peer] -= behind(size)
        if behind(size):
            self._due[peer] += PART_HEADER * max(0, self._owners.owned(peer) - 1)

    def look(self) -> None:
        """Stops reading where too much is held, if it is time to look, and goes on where it is not any more."""
        now = self._clock()
        if now < self._next:
            return
        sockets = self._kernel.connections()
        self._forget_all_but(sockets)
        came = self._came(sockets)
        self._settle(came)
        held = self._held(sockets, came)
        stopped = {one.name for one in sockets if held[one.name] > HELD}
        for one in sockets:
            if one.name in stopped:  # once more where it was before: the loop may have begun to read by itself
                self._kernel.let_read(one, False)
            elif one.name in self._stopped:
                self._kernel.let_read(one, True)
        self._stopped = stopped
        self._next = now + max(_EVERY, _EACH * len(sockets)) * (_SOON if stopped else 1)

    def begin_anew(self) -> None:
        """Reads on everywhere; of what has come so far nothing is held against anybody."""
        sockets = self._kernel.connections()
        for one in sockets:
            if one.name in self._stopped:
                self._kernel.let_read(one, True)
        self._stopped = set()
        self._due = self._awaited.copy()
        self._expected.clear()
        self._before = {one.name: one.read for one in sockets}

    def _count(self, peer: int, size: int, expected: bool) -> None:
        self._due[peer] += size
        if expected:
            self._expected[peer] += size

    def _forget_all_but(self, sockets: Sequence[Socket]) -> None:
        names = {one.name for one in sockets}
        self._owners.forget_all_but(names)
        self._before = {name: size for name, size in self._before.items() if name in names}

    def _settle(self, came: Counter[int]) -> None:
        """Nothing is due of a peer but what was read, or is awaited."""
        for peer, size in came.items():
            self._due[peer] = min(self._due[peer], size + self._awaited[peer])

    def _held(self, sockets: Sequence[Socket], came: Counter[int]) -> dict[Name, int]:
        """Of each socket, what was read of its peer, over all that this one owns, and nobody has taken."""
        held = dict[Name, int]()
        for one in sockets:
            if (owner := self._owners.of(one)) is not None:
                held[one.name] = came[owner] - self._due[owner]
            else:
                known = {self._owners.of(other) for other in sockets if other.address == one.address}
                due = max((size for peer, size in self._expected.items() if peer not in known), default=0)
                held[one.name] = self._read(one) - due
        return held

    def _came(self, sockets: Sequence[Socket]) -> Counter[int]:
        """What was read of each peer that is known to own some of these."""
        came = Counter[int]()
        for one in sockets:
            if (owner := self._owners.of(one)) is not None:
                came[owner] += self._read(one)
        return came

    def _read(self, one: Socket) -> int:
        """What was read of a socket since the beginning, or since its owner is known."""
        return one.read - max(self._before.get(one.name, 0), self._owners.since(one))
