"""Whose a socket of MPI's is."""

from collections import Counter
from collections.abc import Container, Iterator, Set
from contextlib import contextmanager
from typing import Protocol

from detox.wire.sockets import Name, Socket

_TRIES = 8  # messages to a peer that may show its sockets: the first makes one, and for two networks they take turns


class Kernel(Protocol):
    """As detox.wire.sockets.Loop."""

    def connections(self, but: Container[Name] = ()) -> list[Socket]: ...
    def let_read(self, one: Socket, on: bool) -> None: ...


class Owners:
    """Which peer is at the other end of a socket: the one to whom something leaves through it.

    A peer cannot bring that about by itself, as it could feign what it says of itself.

    Args:
        kernel: the sockets.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._owner: dict[Name, int] = {}
        self._since: dict[Name, int] = {}  # bytes read of it when that was seen
        self._last: dict[Name, int] = {}  # to whom something left through it when that was last seen
        self._tries = Counter[int]()

    def of(self, one: Socket) -> int | None:
        """The peer that owns it; None where nobody is known to."""
        return self._owner.get(one.name)

    def owned(self, peer: int) -> int:
        """Sockets that it is known to own."""
        return list(self._owner.values()).count(peer)

    def since(self, one: Socket) -> int:
        """Bytes that had been read of it when its owner became known; 0 where nobody is known to own it."""
        return self._since.get(one.name, 0)

    @contextmanager
    def sending(self, peer: int) -> Iterator[None]:
        """While this runs, something is sent to a peer, and nothing else."""
        if self._tries[peer] == _TRIES:
            yield
            return
        self._tries[peer] += 1
        before = self._unowned()
        yield
        wrote = [one for name, one in self._unowned().items() if one.written > before.get(name, one).written]
        if len(wrote) == 1:
            (one,) = wrote
            if self._last.get(one.name) == peer:  # twice running is no chance
                self._owner[one.name], self._since[one.name] = peer, one.read
            self._last[one.name] = peer

    def forget_all_but(self, names: Set[Name]) -> None:
        """Only these sockets are open."""
        for kept in (self._owner, self._since, self._last):
            for name in kept.keys() - names:
                del kept[name]

    def _unowned(self) -> dict[Name, Socket]:
        return {one.name: one for one in self._kernel.connections(but=self._owner)}
