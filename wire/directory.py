"""Where ranks reach each other over TCP: what each one says of itself, and what the PS tells all of them."""

import json
import struct
from collections.abc import Collection, Mapping
from enum import IntEnum

from detox.wire.messages import WireError

TOLD_LIMIT = 2**22
"""Bytes of what the PS tells: some 40 for each rank."""
_PORT = struct.Struct("<BH")  # a conversation, and the port


class Talk(IntEnum):
    """A conversation between ranks that are not the PS, with connections of its own."""

    NEAR = 0
    """Slices of the weights."""
    AMONG = 1
    """What colluding workers tell each other."""


Ports = dict[Talk, int]
"""Where a rank listens for each conversation that it takes part in; 0: it only dials."""
Addresses = dict[Talk, dict[int, tuple[str, int]]]
"""Host and port of each rank that listens, by conversation."""

SAID_LIMIT = _PORT.size * len(Talk)
"""Bytes of what a rank says."""


def say(ports: Ports) -> bytes:
    """Payload of PEERS of a rank."""
    return b"".join(_PORT.pack(talk, port) for talk, port in ports.items())


def heard(payload: bytes | memoryview) -> Ports:
    """The inverse of say; raises WireError."""
    try:
        return {Talk(talk): port for talk, port in _PORT.iter_unpack(payload)}
    except (struct.error, ValueError):
        raise WireError(f"{len(payload)} bytes are no PEERS") from None


class Directory:
    """What the PS knows of it. The host is where the rank's connection comes from: nobody is sent elsewhere by a rank.

    Args:
        hosts: by rank, as the channel knows.
    """

    def __init__(self, hosts: Mapping[int, str]) -> None:
        self._hosts = hosts
        self._ports: dict[int, Ports] = {}

    def enter(self, rank: int, ports: Ports) -> None:
        """Where a rank listens now."""
        self._ports[rank] = ports

    def takes_part(self, rank: int, talk: Talk) -> bool:
        """Whether the rank takes part in a conversation."""
        return talk in self._ports.get(rank, {})

    def tell(self, ranks: Collection[int]) -> bytes:
        """Payload of PEERS of the PS, of these ranks; empty where none of them listens."""
        found = [
            [talk, rank, self._hosts[rank], port]
            for rank in ranks
            for talk, port in self._ports.get(rank, {}).items()
            if port
        ]
        return json.dumps(found).encode() if found else b""


def told(payload: bytes | memoryview) -> Addresses:
    """The inverse of Directory.tell."""
    found: Addresses = {talk: {} for talk in Talk}
    for talk, rank, host, port in json.loads(bytes(payload)):
        found[Talk(talk)][rank] = (host, port)
    return found
