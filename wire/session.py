"""The conversation of a rank with its peers: what may come now, and the only loop that waits for it."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import replace
from typing import Protocol

import numpy as np

from detox.wire.messages import Header, Kind, Message

AHEAD = 2
"""Messages of one answer that are received at a time."""
_LONGEST = 0.01  # seconds of sleep, at most
_SHARE = 0.05  # of the time since the last message that a sleep may take


class Channel(Protocol):
    """What carries messages: detox.wire.transport.Transport over MPI, detox.wire.tcp.Channel, detox.wire.memory.Channel
    in one process. tests/wire/test_channels.py is their contract.

    Attributes:
        peers: the ranks at its other ends.
        dead: those of them that are lost.
        limits: by kind, the most bytes of payload; other kinds are never received.
        credit: by kind, how many messages of each peer are received at a time; kinds that are not in it have no end.
        quota: by peer, how many more messages are received; what it sends beyond that waits on its side. Of
            peers that are not in it, there is no end.
        bytes_received: headers and payloads.
        busy: whether a message is under way, of which more comes or goes only when this rank looks.
        library: name -> version of what carries the messages, for reports.
    """

    peers: tuple[int, ...]
    dead: set[int]
    limits: dict[int, int]
    credit: dict[int, Counter[int]]
    quota: dict[int, int]

    @property
    def bytes_received(self) -> int: ...
    @property
    def busy(self) -> bool: ...
    @property
    def library(self) -> Mapping[str, str]: ...
    def send(self, peers: Iterable[int], header: Header, payload: bytes | memoryview = b"") -> None: ...
    def send_frame(self, peers: Iterable[int], tag: int, frame: np.ndarray) -> None: ...
    def sending(self, peer: int) -> int: ...
    def receive(self) -> Iterator[Message]: ...


class Door(Protocol):
    """Says which peers take part, where they may come at any time; it talks to those that do not yet.

    Attributes:
        limits: the kinds of message that it takes, and the most bytes of payload: they are always expected.
        outside: peers that take no part now; for all others they are dead.
        absent: those of them that never have.
    """

    limits: Mapping[Kind, int]

    @property
    def outside(self) -> Set[int]: ...
    @property
    def absent(self) -> Set[int]: ...
    def take(self, message: Message) -> bool:
        """Takes a message, if it is for the door; whether it was."""


class Session:
    """The conversation of one rank with its peers: limits, credit and waiting, on one channel.

    Of what has to be asked for, no more is received than was, so a peer that floods only fills its own buffers.

    Args:
        channel: carries the messages. It may be set to one that is around it.
        poll: seconds of sleep where nothing has come; longer the longer nothing comes, up to 10 ms, but not while a
            message is under way. It may be set.
        clock: seconds, monotonic.
        sleep: waits for so many seconds.

    Attributes:
        door: says which peers take part; None: all do. It may be set, before `expect`.
    """

    def __init__(
        self,
        channel: Channel,
        poll: float = 0.0005,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clock = clock
        self.channel = channel
        self.poll = poll
        self.door: Door | None = None
        self._sleep = sleep
        self._due: dict[tuple[Header, int], int] = {}  # messages that have not come

    def change(self, channel: Channel, sleep: Callable[[float], None]) -> None:
        """Goes on over another channel to the same peers, on which nothing is expected yet.

        Args:
            channel: carries the messages from now on.
            sleep: waits for so many seconds, or less where there is something to do.
        """
        self.channel, self._sleep = channel, sleep
        self._due.clear()

    @property
    def peers(self) -> tuple[int, ...]:
        """The ranks at the other ends."""
        return self.channel.peers

    @property
    def dead(self) -> frozenset[int]:
        """Peers that are lost, or outside."""
        dead = frozenset(self.channel.dead)
        return dead if self.door is None else dead | self.door.outside

    @property
    def lost(self) -> frozenset[int]:
        """Those of the dead that have taken part."""
        return self.dead if self.door is None else self.dead - self.door.absent

    @property
    def bytes_received(self) -> int:
        """Headers and payloads, from all peers."""
        return self.channel.bytes_received

    def sending(self, peer: int) -> int:
        """Messages to the peer that are still under way."""
        return self.channel.sending(peer)

    def expect(self, limits: Mapping[Kind, int], asked: Iterable[Kind] = ()) -> None:
        """From now on receives these kinds, and only these; nothing changes where they are what is expected already.

        Args:
            limits: by kind, the most bytes of payload.
            asked: those that come only as answers to `ask`.
        """
        asked = set(asked)
        if self.door is not None:
            limits = {**limits, **{kind: max(n, limits.get(kind, 0)) for kind, n in self.door.limits.items()}}
        if self.channel.limits == limits and self.channel.credit.keys() == asked:
            return
        self.channel.limits.clear()
        self.channel.limits.update({int(kind): limit for kind, limit in limits.items()})
        self.channel.credit.clear()
        self.channel.credit.update({kind: Counter() for kind in asked})
        self._due.clear()

    def grant(self, most: int) -> None:
        """From now on receives one message more of each peer, of all that it has been granted `most` at the most.

        Without any grant there is no end; from the first one on, what is beyond it waits on the peer's side.
        """
        quota = self.channel.quota
        quota.update({peer: min(most, quota.get(peer, 0) + 1) for peer in self.peers})

    def send(self, peers: Iterable[int], header: Header, payload: bytes | memoryview = b"") -> None:
        """Starts sending a message to each of the peers; not to those outside."""
        outside = () if self.door is None else self.door.outside
        self.channel.send([peer for peer in peers if peer not in outside], header, payload)

    def send_frame(self, peers: Iterable[int], kind: Kind, frame: np.ndarray) -> None:
        """Starts sending a whole message, header and payload, to each of the peers; it must not change any more."""
        outside = () if self.door is None else self.door.outside
        self.channel.send_frame([peer for peer in peers if peer not in outside], int(kind), frame)

    def ask(
        self, peer: int, header: Header, answer: Kind, payload: bytes | memoryview = b"", *, messages: int = 1
    ) -> None:
        """Sends a message, and admits one answer to it: of kind `answer`, with the header's other fields.

        Args:
            peer, header, payload: the message, and whom it goes to.
            answer: the kind.
            messages: that the answer consists of.
        """
        self.send([peer], header, payload)
        self.admit(peer, header, answer, messages=messages)

    def admit(self, peer: int, header: Header, answer: Kind, *, messages: int = 1) -> None:
        """Admits one more answer to what was asked, of another kind."""
        due = (Header(answer, header.step, header.worker, header.file), peer)
        if due not in self._due:
            self._due[due] = messages
            self._credit(due, min(messages, AHEAD))

    def forget(self, step: int) -> None:
        """Admits no more answers about this step or earlier ones."""
        for due in [due for due in self._due if due[0].step <= step]:
            self._credit(due, -min(self._due.pop(due), AHEAD))

    def receive(self) -> Iterator[Message]:
        """What has come by now; an answer of which all has come is no longer due."""
        for message in self.channel.receive():
            if message.header is not None:
                self._settle((replace(message.header, chunk=0), message.source))
            yield message

    def turn(self, take: Callable[[Message], object]) -> bool:
        """Takes what has come by now; whether anything has."""
        came = False
        for message in self.receive():
            came = True
            if self.door is None or not self.door.take(message):
                take(message)
        return came

    def wait(
        self,
        until: Callable[[], bool],
        take: Callable[[Message], object],
        *,
        deadline: float = math.inf,
        silence: float = math.inf,
        then: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Takes what comes until something is so; whether it is.

        Args:
            until: asked before each batch of messages.
            take: is given each message.
            deadline: by the clock; it waits no longer.
            silence: seconds without a message, and beside what `then` takes, after which it waits no longer.
            then: done after each batch of messages; whether there was anything to do.
        """
        heard = stirred = self.clock()
        while not until():
            came, looked = self.turn(take), self.clock()
            did, now = then(), self.clock()
            heard = now if came else heard + (now - looked)
            stirred = now if came or did else stirred
            if now > deadline or now - heard > silence:
                return until()
            if not came and not did:
                idle = 0.0 if self.channel.busy else now - stirred
                self._sleep(max(self.poll, min(_SHARE * idle, _LONGEST)))
        return True

    def _settle(self, due: tuple[Header, int]) -> None:
        """Takes note that a message has come."""
        left = self._due.get(due, 0)
        if left > 1:
            self._due[due] = left - 1
        elif left:
            del self._due[due]
        if 0 < left <= AHEAD:
            self._credit(due, -1)

    def _credit(self, due: tuple[Header, int], messages: int) -> None:
        header, peer = due
        if header.kind in self.channel.credit:
            self.channel.credit[header.kind][peer] += messages
