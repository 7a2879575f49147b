"""The channel within one process, with a clock that tests turn: every rank's messages, and no MPI."""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count

import numpy as np

from detox.wire.messages import HEADER_BYTES, Header, Message, WireError
from detox.wire.session import Session


class Network:
    """Ranks in one process, and the time there.

    Attributes:
        now: seconds; only `sleep` moves them.
        actors: the ranks' turns, each of which does a part of a rank's work whenever another one sleeps.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.actors: list[Callable[[], object]] = []
        self._channels: dict[tuple[int, int], Channel] = {}  # by rank and peer
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()

    def channel(self, rank: int, peers: Iterable[int], heard: Callable[[Message], None] | None = None) -> "Channel":
        """A rank's end of what it has with these peers; it may have another with others.

        Args:
            rank: the rank.
            peers: whom it talks to.
            heard: is given each message at once; None: they wait for `receive`.
        """
        channel = Channel(self, rank, tuple(peers), heard)
        self._channels |= {(rank, peer): channel for peer in channel.peers}
        return channel

    def session(self, rank: int, peers: Iterable[int]) -> Session:
        """A rank's conversation with its peers, by the network's clock."""
        return Session(self.channel(rank, peers), clock=self.clock, sleep=self.sleep)

    def clock(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Lets so much time go by, and what is to be done within it happen in turn."""
        for act in self.actors:
            act()
        end = self.now + seconds
        while self._alarms and self._alarms[0][0] <= end:
            self.now, _, act = heapq.heappop(self._alarms)
            act()
        self.now = end

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Does something when so much time has gone by."""
        heapq.heappush(self._alarms, (self.now + seconds, next(self._number), act))

    def kill(self, rank: int) -> None:
        """Every other rank learns that this one is dead."""
        for (_, peer), channel in self._channels.items():
            if peer == rank:
                channel.dead.add(rank)

    def deliver(self, source: int, peer: int, tag: int, frame: bytes) -> None:
        """Brings the bytes of a message to a rank; to one without a channel, nowhere."""
        if (peer, source) in self._channels:
            self._channels[peer, source].arrive(source, tag, frame)

    def waiting(self, source: int, peer: int) -> int:
        """Messages of one rank that another has not taken."""
        return len(self._channels[peer, source].arrived[source]) if (peer, source) in self._channels else 0


class Channel:
    """One rank's end of a Network; see detox.wire.session.Channel.

    What it says of messages that it does not take is what detox.wire.transport says.
    """

    def __init__(
        self, network: Network, rank: int, peers: tuple[int, ...], heard: Callable[[Message], None] | None
    ) -> None:
        self.rank = rank
        self.peers = peers
        self.dead: set[int] = set()
        self.limits: dict[int, int] = {}
        self.credit: dict[int, Counter[int]] = {}
        self.quota: dict[int, int] = {}
        self.bytes_received = 0
        self._network = network
        self._heard = heard
        self.arrived: dict[int, deque[tuple[int, bytes]]] = defaultdict(deque)

    def send(self, peers: Iterable[int], header: Header, payload: bytes | memoryview = b"") -> None:
        """Sends a message to each of the peers."""
        frame = header.pack(len(payload)) + bytes(payload)
        self.send_frame(peers, int(header.kind), frame)

    def send_frame(self, peers: Iterable[int], tag: int, frame: bytes | np.ndarray) -> None:
        """Sends bytes, whatever they are."""
        for peer in peers:
            if peer not in self.dead:
                self._network.deliver(self.rank, peer, tag, bytes(frame))

    @property
    def busy(self) -> bool:
        """Never: a message arrives whole."""
        return False

    @property
    def library(self) -> Mapping[str, str]:
        """None."""
        return {}

    def sending(self, peer: int) -> int:
        """Messages to the peer that it has not taken."""
        return self._network.waiting(self.rank, peer)

    def arrive(self, source: int, tag: int, frame: bytes) -> None:
        """Takes note of a message from a peer."""
        if self._heard is not None:
            self._heard(self._read(source, tag, frame))
        else:
            self.arrived[source].append((tag, frame))

    def receive(self) -> Iterator[Message]:
        """All that has arrived by now."""
        for peer in self.peers:
            arrived = self.arrived[peer]
            while arrived and peer not in self.dead and self.quota.get(peer, 1):
                tag, frame = arrived.popleft()
                if peer in self.quota:
                    self.quota[peer] -= 1
                if fault := self._fault(peer, tag, len(frame)):
                    yield Message(peer, None, memoryview(b""), fault)
                else:
                    self.bytes_received += len(frame)
                    yield self._read(peer, tag, frame)

    def _fault(self, peer: int, tag: int, size: int) -> str:
        if not 0 <= size <= HEADER_BYTES + self.limits.get(tag, -HEADER_BYTES):
            return f"{size} bytes of kind {tag}, of which nothing so long is expected"
        if tag in self.credit and not self.credit[tag][peer]:
            return f"{size} bytes of kind {tag} that were not asked for"
        return ""

    @staticmethod
    def _read(source: int, tag: int, frame: bytes) -> Message:
        try:
            header = Header.unpack(frame)
            if header.kind != tag:
                raise WireError(f"{header.kind.name} under the tag of kind {tag}")
            return Message(source, header, memoryview(frame)[HEADER_BYTES:])
        except WireError as error:
            return Message(source, None, memoryview(b""), str(error))
