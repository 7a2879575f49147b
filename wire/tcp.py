"""The channel over TCP and TLS: each peer's own connection, which is dropped for what it should not send, and may be
made anew."""

import select
import ssl
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np

from detox.wire.connection import Connection
from detox.wire.messages import ENDLESS, HEADER_BYTES, Header, Message, WireError

_SHORT = 2**16  # bytes of payload that may always come, if into nothing


class Entrance(Protocol):
    """Where connections come from: detox.wire.listener.Listener or detox.wire.dialer.Dialer."""

    def arrivals(self, missing: Collection[int]) -> Iterator[Connection]:
        """The connections that have come about by now; `missing` are the peers without one."""

    def watch(self, poll: select.poll) -> None:
        """Has `poll` wake up where there is something to do for `arrivals`."""

    def close(self) -> None:
        """No more come."""


class Channel:
    """Messages between this rank and `peers`; nothing in it blocks. See detox.wire.session.Channel.

    A peer without a connection is in `dead`, and is no longer when it has a new one: what was under way is lost. A
    message that nobody expects now, but may have expected when it was sent, is read into nothing; what is no message,
    or is unexpected and longer than any that was ever expected here of a kind with an end, ends the connection.

    Args:
        entrance: where connections come from.
        peers: the ranks to talk to.
        greeting: gives the first message on each new connection; None: there is none.
        patient: whether a peer without a connection is waited for, and not in `dead`.
        kept: messages to a peer that are kept, the newest, until its first connection; it is not in `dead` before.

    Attributes:
        hosts: by peer, the address of its last connection.
        drops: by peer, how often its connection was lost.
        closed: whether no more connections come.
        why: by peer, what its last connection was lost of.
    """

    def __init__(
        self,
        entrance: Entrance,
        peers: Iterable[int],
        greeting: Callable[[], tuple[Header, bytes]] | None = None,
        patient: bool = False,
        kept: int = 0,
    ) -> None:
        self.peers = tuple(peers)
        self._missing = set(self.peers)
        self.dead: set[int] = set() if patient or kept else self._missing
        self._patient = patient
        self._kept = {peer: deque[np.ndarray](maxlen=kept) for peer in self.peers if kept}
        self.limits: dict[int, int] = {}
        self.credit: dict[int, Counter[int]] = {}
        self.quota: dict[int, int] = {}
        self.hosts: dict[int, str] = {}
        self.drops: Counter[int] = Counter()
        self.why: dict[int, str] = {}
        self._entrance = entrance
        self._greeting = greeting
        self._connections: dict[int, Connection] = {}
        self.closed = False
        self._longest = _SHORT  # bytes of any payload that was ever expected, ENDLESS aside
        self._read = 0  # bytes, of connections that are over

    def send(self, peers: Iterable[int], header: Header, payload: bytes | memoryview = b"") -> None:
        """Starts sending one message to each of `peers`; it is copied once, so the payload may change after."""
        self.send_frame(peers, int(header.kind), header.frame(payload))

    def send_frame(self, peers: Iterable[int], tag: int, frame: np.ndarray) -> None:
        """Starts sending bytes, whatever they are, to each of `peers`; they must not change any more."""
        for peer in peers:
            if peer in self._connections:
                self._connections[peer].send(frame)
            elif peer in self._kept:
                self._kept[peer].append(frame)

    @property
    def bytes_received(self) -> int:
        """Headers and payloads."""
        return self._read + sum(connection.bytes_received for connection in self._connections.values())

    @property
    def busy(self) -> bool:
        """Never: `wait` ends when there is something to do."""
        return False

    @property
    def library(self) -> Mapping[str, str]:
        """The TLS that runs this process."""
        return {"tls": ssl.OPENSSL_VERSION}

    def sending(self, peer: int) -> int:
        """Messages to `peer` that have not left this process."""
        if peer not in self._connections:
            return len(self._kept.get(peer, ()))
        self._connections[peer].flush()
        return self._connections[peer].queued

    def receive(self) -> Iterator[Message]:
        """All that has arrived by now; of a flood a part, so that it ends."""
        self._longest = max([self._longest, *(limit for limit in self.limits.values() if limit != ENDLESS)])
        if not self.closed:
            for connection in self._entrance.arrivals(self._missing):
                self._connect(connection)
        for connection in list(self._connections.values()):
            connection.flush()
            yield from self._receive(connection)
            if connection.lost:
                self._drop(connection)

    def _receive(self, connection: Connection) -> Iterator[Message]:
        """What has come of a peer, as far as its quota goes; the rest is not read."""
        peer = connection.peer
        if not self.quota.get(peer, 1):
            return
        for message in connection.receive(self._admit):
            if peer in self.quota:
                self.quota[peer] -= 1
            yield message
            if not self.quota.get(peer, 1):
                return

    def _admit(self, peer: int, header: Header, length: int) -> str:
        kind, size = int(header.kind), HEADER_BYTES + length
        if length > self.limits.get(kind, -1):
            fault = f"{size} bytes of kind {kind}, of which nothing so long is expected"
        elif kind in self.credit and not self.credit[kind][peer]:
            fault = f"{size} bytes of kind {kind} that were not asked for"
        else:
            return ""
        if length > self._longest:
            raise WireError(fault)
        return fault

    def _connect(self, connection: Connection) -> None:
        """The peer's connection is this one from now on."""
        if connection.peer not in self.peers:
            connection.end("it is nobody's")
            return
        if (old := self._connections.get(connection.peer)) is not None:
            old.end("there is a new one")
            self._drop(old)
        self._connections[connection.peer] = connection
        self.hosts[connection.peer] = connection.host
        self._missing.discard(connection.peer)
        self.dead.discard(connection.peer)
        if self._greeting is not None:
            self.send([connection.peer], *self._greeting())
        for frame in self._kept.pop(connection.peer, ()):
            connection.send(frame)

    def _drop(self, connection: Connection) -> None:
        if self._connections.get(connection.peer) is connection:
            self._read += connection.bytes_received
            self.drops[connection.peer] += 1
            self.why[connection.peer] = connection.lost
            self._missing.add(connection.peer)
            if not self._patient:
                self.dead.add(connection.peer)
            del self._connections[connection.peer]

    def wait(self, seconds: float) -> None:
        """Returns after so many seconds, or when there is something to receive, to send, or to let in."""
        wait([self], seconds)

    def watch(self, poll: select.poll) -> None:
        """Has `poll` wake up where there is something to do."""
        if not self.closed:
            self._entrance.watch(poll)
        for peer, connection in self._connections.items():
            wanted = select.POLLIN * bool(self.quota.get(peer, 1)) | select.POLLOUT * bool(connection.queued)
            if wanted:  # or it would wake up for a connection that is over, and not look
                poll.register(connection, wanted)

    @property
    def connected(self) -> bool:
        """Whether any peer has a connection."""
        return bool(self._connections)

    def close_entrance(self) -> None:
        """Lets no more connections come."""
        self.closed = True
        self._entrance.close()

    def close(self) -> None:
        """Ends all connections, and lets no more come."""
        self.close_entrance()
        for connection in list(self._connections.values()):
            connection.end("it was closed here")
            self._drop(connection)


def wait(channels: Iterable[Channel], seconds: float) -> None:
    """Returns after so many seconds, or when there is something to do on any of the channels."""
    poll = select.poll()
    for channel in channels:
        channel.watch(poll)
    poll.poll(max(1, round(1000 * seconds)))
