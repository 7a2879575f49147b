"""A channel that is around another one, and passes everything on."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from detox.wire import Channel, Header, Message


class Around:
    """What faults change of a channel they change here; see detox.wire.session.Channel.

    Args:
        transport: the channel that carries the messages.
    """

    def __init__(self, transport: Channel) -> None:
        self.peers = transport.peers
        self.dead = transport.dead
        self.limits = transport.limits
        self.credit = transport.credit
        self.quota = transport.quota
        self._transport = transport

    @property
    def busy(self) -> bool:
        """Whether a message is under way."""
        return self._transport.busy

    @property
    def library(self) -> Mapping[str, str]:
        """What carries the messages."""
        return self._transport.library

    @property
    def bytes_received(self) -> int:
        """Headers and payloads."""
        return self._transport.bytes_received

    def sending(self, peer: int) -> int:
        """Messages to the peer that are still under way."""
        return self._transport.sending(peer)

    def receive(self) -> Iterator[Message]:
        """What has arrived."""
        return self._transport.receive()

    def send(self, peers: Iterable[int], header: Header, payload: bytes | memoryview = b"") -> None:
        """Sends a message."""
        self._transport.send(peers, header, payload)

    def send_frame(self, peers: Iterable[int], tag: int, frame: np.ndarray) -> None:
        """Sends bytes as they are."""
        self._transport.send_frame(peers, tag, frame)
