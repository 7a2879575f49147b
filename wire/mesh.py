"""Conversations over TCP between ranks that are not the parameter server (PS), which tells them where each listens."""

import contextlib
import select
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set

from detox.wire.connection import Connection, EntranceError
from detox.wire.dialer import Dialer
from detox.wire.directory import TOLD_LIMIT, Addresses, Ports, Talk, say, told
from detox.wire.keys import Keys
from detox.wire.listener import Listener
from detox.wire.messages import Header, Kind, Message
from detox.wire.session import Session
from detox.wire.tcp import Channel, wait

PS = 0
_KEPT = 64  # messages to a rank that are kept until it is there


class Crossing:
    """Where a rank's connections with others come from: it is dialled by those above it, and dials those below.

    Args:
        listener: for those above; None: there are none.
        create_dialer: makes what dials a rank at an address.
        below: the ranks to dial.
        first: the rank that the channel has as number 0.
    """

    def __init__(
        self,
        listener: Listener | None,
        create_dialer: Callable[[int, tuple[str, int]], Dialer],
        below: Collection[int],
        first: int,
    ) -> None:
        self._listener = listener
        self._create_dialer = create_dialer
        self._below = below
        self._first = first
        self._dialers: dict[int, tuple[tuple[str, int], Dialer]] = {}

    def learn(self, addresses: Mapping[int, tuple[str, int]]) -> None:
        """Where ranks listen now; one that is not among them is dialled no more."""
        for rank in self._below:
            address, (known, dialer) = addresses.get(rank), self._dialers.get(rank, (None, None))
            if address == known:
                continue
            if dialer is not None:
                dialer.close()
                del self._dialers[rank]
            if address is not None:
                self._dialers[rank] = address, self._create_dialer(rank, address)

    def arrivals(self, missing: Collection[int]) -> Iterator[Connection]:
        """The connections that have come about by now."""
        absent = {number + self._first for number in missing}
        for connection in self._all_arrivals(absent):
            connection.peer -= self._first
            yield connection

    def _all_arrivals(self, missing: Collection[int]) -> Iterator[Connection]:
        if self._listener is not None:
            yield from self._listener.arrivals(missing)
        for _, dialer in self._dialers.values():
            with contextlib.suppress(EntranceError):  # another end answers there: it is not who the PS says
                yield from dialer.arrivals(missing)

    def watch(self, poll: select.poll) -> None:
        """Wakes up for guests, and for what the attempts to dial need next."""
        if self._listener is not None:
            self._listener.watch(poll)
        for _, dialer in self._dialers.values():
            dialer.watch(poll)

    def close(self) -> None:
        """Listens no longer, and ends all attempts."""
        if self._listener is not None:
            self._listener.close()
        for _, dialer in self._dialers.values():
            dialer.close()


class Mesh:
    """The door of a rank's conversation with the PS, through which it learns how to reach other ranks.

    Each of two ranks knows the other's certificate, and nobody else is let in. A rank that cannot be reached is one
    from which nothing comes.

    Args:
        session: the conversation with the PS.
        channel: that it is on.
        keys: of this rank, with all others' certificates.
        address: host and port to listen on; port 0: any that is free.
        clock: seconds, monotonic.

    Attributes:
        limits, outside, absent: see detox.wire.session.Door.
    """

    limits: Mapping[Kind, int] = {Kind.PEERS: TOLD_LIMIT}
    outside: Set[int] = frozenset()
    absent: Set[int] = frozenset()

    def __init__(
        self,
        session: Session,
        channel: Channel,
        keys: Keys,
        address: tuple[str, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._channel = channel
        self._keys = keys
        self._address = address
        self._clock = clock
        self._ports: Ports = {}
        self._known: Addresses = {talk: {} for talk in Talk}
        self._talks: list[tuple[Talk, Crossing, Channel]] = []
        session.door = self

    def near(self, peers: Iterable[int]) -> Session:
        """The conversation with other ranks of workers."""
        return self._talk(Talk.NEAR, peers, 0)

    def among(self, first: int) -> Session:
        """The conversation of colluding ranks, from a first one on, numbered from 0 there."""
        return self._talk(Talk.AMONG, range(first, len(self._keys.peers)), first)

    def _talk(self, talk: Talk, peers: Iterable[int], first: int) -> Session:
        rank = self._keys.rank
        others = [peer for peer in peers if peer != rank]
        listener = Listener(self._address, self._keys, self._clock) if max(others, default=0) > rank else None
        self._ports[talk] = self._ports.get(talk, 0) if listener is None else listener.port
        self._session.send([PS], Header(Kind.PEERS), say(self._ports))
        crossing = Crossing(
            listener,
            lambda peer, address: Dialer(address, self._keys, self._clock, peer),
            [peer for peer in others if peer < rank],
            first,
        )
        crossing.learn(self._known[talk])
        channel = Channel(crossing, [peer - first for peer in others], kept=_KEPT)
        self._talks.append((talk, crossing, channel))
        return Session(channel, clock=self._clock)

    def hang_up(self) -> None:
        """Ends all conversations that there are."""
        for _, _, channel in self._talks:
            channel.close()
        self._talks.clear()
        self._ports.clear()

    def take(self, message: Message) -> bool:
        """Learns where ranks listen."""
        if message.header is None or message.header.kind != Kind.PEERS:
            return False
        self._known = told(message.payload)
        for talk, crossing, _ in self._talks:
            crossing.learn(self._known[talk])
        return True

    def wait(self, seconds: float) -> None:
        """Returns after so many seconds, or when there is something to do on any channel of this rank."""
        wait([self._channel, *(channel for _, _, channel in self._talks)], seconds)
