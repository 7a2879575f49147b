"""Where ranks reach each other over TCP: what each one says of itself, and what the PS tells all of them."""

import json
import struct
from collections.abc import Collection, Mapping
from enum import IntEnum
from ipaddress import ip_address

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
    """What the PS knows of it. The host is where a rank's connection comes from: it sends others to no address than its
    own. A loopback address means something else on each host, so it is told only where all ranks come from one.

    Args:
        hosts: by rank, as the channel knows.
    """

    def __init__(self, hosts: Mapping[int, str]) -> None:
        self._hosts = hosts
        self._ports: dict[int, Ports] = {}

    def enter(self, rank: int, ports: Ports) -> None:
        """Where a rank listens now."""
        self._ports[rank] = ports

    def parties(self, ranks: Collection[int], talk: Talk) -> dict[int, int]:
        """Port of each of these ranks that takes part in a conversation and that all the others can reach."""
        local = {rank for rank in ranks if _is_loopback(self._hosts.get(rank, ""))}
        unreachable = local if len(local) < len(ranks) else set()
        found = {rank: self._ports[rank][talk] for rank in ranks if talk in self._ports.get(rank, {})}
        return {rank: port for rank, port in found.items() if not port or rank not in unreachable}

    def tell(self, ranks: Collection[int]) -> bytes:
        """Payload of PEERS of the PS, of these ranks; empty where none of them listens."""
        found = [
            [talk, rank, self._hosts[rank], port]
            for talk in Talk
            for rank, port in self.parties(ranks, talk).items()
            if port
        ]
        return json.dumps(found).encode() if found else b""


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:  # nobody knows where it came from
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def told(payload: bytes | memoryview) -> Addresses:
    """The inverse of Directory.tell; raises WireError."""
    found: Addresses = {talk: {} for talk in Talk}
    try:
        for talk, rank, host, port in json.loads(bytes(payload)):
            found[Talk(talk)][int(rank)] = (str(host), int(port))
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise WireError(f"{len(payload)} bytes are no PEERS") from None
    return found
