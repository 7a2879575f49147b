"""The servers, as a rank of workers sees them: who gets which part of a gradient, and sends which of the weights."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from detox.aggregators import Share
from detox.wire import PROBE, Codec, Header, Kind, Message, Session, claim_of, digest_of

PS = 0
LEAVING = 16
"""Messages that may be on their way to a server; all chunks of a gradient but its first wait until there are less."""


class Servers:
    """Servers 0..S-1, of which the PS is the first, and each owns a share of weights and gradients.

    Args:
        session: the conversation with the PS.
        others: that with the further servers, under their ranks 1..S-1; None: there are none.
        shares: of all servers.
        codecs: how each share of a gradient travels.
    """

    def __init__(
        self, session: Session, others: Session | None, shares: Sequence[Share], codecs: Sequence[Codec]
    ) -> None:
        self._session = session
        self._others = others
        self._shares = shares
        self._codecs = codecs
        self._parts: dict[int, dict[int, np.ndarray]] = {}  # of weights, by step and server
        self._leaving: list[deque[tuple[Header, np.ndarray]]] = [deque() for _ in shares]

    @property
    def limits(self) -> dict[Kind, int]:
        """What the further servers send, and the most bytes of it."""
        return {Kind.WEIGHTS: 4 * max(share.end - share.begin for share in self._shares), Kind.FETCH: 0}

    def turn(self, take: Callable[[Message], object]) -> bool:
        """Takes what has come of the further servers, and sends on to all; whether there was anything to do."""
        came = self._others is not None and self._others.turn(take)
        sent = [self._send_on(server) for server in range(len(self._shares))]
        return came or any(sent)

    def assemble(self, source: int, step: int, payload: memoryview) -> np.ndarray | None:
        """The weights of a step, (d + b,) float32, once each server's share is here; the self-test's come whole."""
        part = np.frombuffer(payload, np.float32)
        if len(self._shares) == 1 or step == PROBE:
            return part
        parts = self._parts.setdefault(step, {})
        parts[source] = part
        for old in sorted(self._parts)[:-2]:
            del self._parts[old]
        if len(parts) < len(self._shares):
            return None
        del self._parts[step]
        return np.concatenate([parts[server] for server in range(len(self._shares))])

    def digest_of(self, step: int, weights: np.ndarray) -> bytes:
        """What names the weights of a step: of several shares, BLAKE3 of their digests."""
        if len(self._shares) == 1 or step == PROBE:
            return digest_of(weights)
        digests = b"".join(digest_of(weights[share.range]) for share in self._shares)
        return digest_of(np.frombuffer(digests, np.uint8))

    def claim_of(self, step: int, vector: np.ndarray) -> bytes:
        """What claims a vector: the digests of its shares, one behind the other; in the self-test, of the whole."""
        if step == PROBE:
            return claim_of(vector)
        return b"".join(claim_of(vector[share.range]) for share in self._shares)

    def send_gradient(self, server: int, header: Header, vector: np.ndarray) -> None:
        """Sends a server its share of a vector, which must not change any more: the first chunk at once."""
        part = vector[self._shares[server].range]
        self._send(server, header, part)
        self._leaving[server] += ((replace(header, chunk=i), part) for i in range(1, self._codecs[server].chunks))
        self._send_on(server)

    def _send(self, server: int, header: Header, part: np.ndarray) -> None:
        self._session_with(server).send([server], header, self._codecs[server].encode(part, header.chunk))

    def _send_on(self, server: int) -> bool:
        """Sends further chunks, if enough of what went before is gone; whether there were any."""
        sent, leaving = False, self._leaving[server]
        while leaving and self._session_with(server).sending(server) < LEAVING:
            self._send(server, *leaving.popleft())
            sent = True
        return sent

    def _session_with(self, server: int) -> Session:
        return self._session if server == PS or self._others is None else self._others
