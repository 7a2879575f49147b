"""How weights are cut into slices, and on which ways these go to the ranks."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from detox.wire.messages import DIGEST_BYTES, WireError, digest_of

FROM_RANKS = 6
"""Ranks from which on slices pay: with six hosts a step was 1.5 times as quick, with 45 2.6 times; with three it
depends on the links (docs/experiments/cluster.md)."""
FROM_HOSTS = 4
"""Hosts from which on they pay: on one machine there is no link to spare, and three were not quicker at 10 Gb/s."""
FROM_BYTES = 2**20
"""Bytes of weights from which on they pay: below, slices are messages of little more than their headers."""
_PERCENT = 108  # of the weights that a relay passes on at the most; headers are another 1 % or so


def pays(ranks: int, size: int) -> bool:
    """Whether slices are quicker than whole weights to each rank.

    Args:
        ranks: of workers.
        size: entries of float32.
    """
    return ranks >= FROM_RANKS and 4 * size >= FROM_BYTES


def fewest(ranks: int, servers: int = 1) -> int:
    """Ranks, of so many, that the weights of so many servers are cut for at least."""
    return max(2, servers, -(-ranks // 2))


def audience(relays: int, servers: int = 1) -> int:
    """Ranks that each of so many relays passes its slice on to at the most: all other relays, and who rests.

    So many that what it sends is no more than 1.08 times the weights, where servers own equal shares of them.

    Args:
        relays: one at least for each server.
        servers: that share the weights.
    """
    return max(relays - 1, _PERCENT * servers * (relays // servers) // 100)


def longest(widths: Sequence[int], ranks: int) -> int:
    """Bytes of the longest slice that may come, where servers own so many entries each."""
    least = divide(range(fewest(ranks, len(widths))), widths)
    return 4 * max(-(-width // len(some)) for width, some in zip(widths, least, strict=True))


def divide(ranks: Sequence[int], widths: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The ranks by server whose slices they pass on, so that the longest slice is as short as can be.

    Args:
        ranks: one at least for each server.
        widths: entries that each server owns.
    """
    counts = [1] * len(widths)
    for _ in range(len(ranks) - len(widths)):
        counts[max(range(len(widths)), key=lambda server: widths[server] / counts[server])] += 1
    ends = list(accumulate(counts, initial=0))
    return tuple(tuple(ranks[begin:end]) for begin, end in pairwise(ends))


def cut(size: int, slices: int, index: int) -> slice:
    """The entries of one of so many slices, all of about the same length."""
    return slice(size * index // slices, size * (index + 1) // slices)


@dataclass(frozen=True, slots=True)
class Routes:
    """The ways on which a step's weights go to the ranks.

    Attributes:
        relays: slice i goes to relays[i], which passes it on to all others that get slices; the first server's first.
        resting: get all slices of the relays, and pass none on.
        whole: get the weights whole, of the servers.
    """

    relays: tuple[int, ...] = ()
    resting: tuple[int, ...] = ()
    whole: tuple[int, ...] = ()

    @property
    def sliced(self) -> tuple[int, ...]:
        """The ranks that get slices."""
        return self.relays + self.resting

    @staticmethod
    def limit(ranks: int) -> int:
        """Bytes, for so many ranks."""
        return 4 * (2 + ranks)

    def pack(self) -> bytes:
        """Their bytes, for a further server."""
        return np.array([len(self.relays), len(self.resting), *self.sliced, *self.whole], "<u4").tobytes()

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> "Routes":
        """The inverse of pack; raises WireError for other bytes."""
        numbers = [] if len(payload) % 4 else np.frombuffer(payload, "<u4").tolist()
        if len(numbers) < 2 or sum(numbers[:2]) > len(numbers) - 2:
            raise WireError(f"{len(payload)} bytes are no STEP")
        relays, resting, *ranks = numbers
        end = relays + resting
        return cls(tuple(ranks[:relays]), tuple(ranks[relays:end]), tuple(ranks[end:]))


@dataclass(frozen=True, slots=True)
class Slices:
    """Payload of SLICES: how all weights are cut in a step, and what a server's slices are.

    Attributes:
        relays, resting: see Routes.
        digests: BLAKE3 of each of this server's slices.
    """

    relays: tuple[int, ...]
    digests: tuple[bytes, ...]
    resting: tuple[int, ...] = ()

    @classmethod
    def of(cls, weights: np.ndarray, routes: Routes, slices: int) -> "Slices":
        """A server's weights, (entries,) float32, in so many slices."""
        digests = tuple(digest_of(weights[cut(weights.size, slices, i)]) for i in range(slices))
        return cls(routes.relays, digests, routes.resting)

    @classmethod
    def limit(cls, ranks: int) -> int:
        """Bytes of the payload for so many ranks."""
        return Routes.limit(ranks) + DIGEST_BYTES * ranks

    def pack(self) -> bytes:
        """The payload's bytes."""
        return Routes(self.relays, self.resting).pack() + b"".join(self.digests)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> "Slices":
        """The inverse of pack."""
        content = bytes(payload)
        relays, resting = (int.from_bytes(content[start : start + 4], "little") for start in (0, 4))
        end = Routes.limit(relays + resting)
        digests = content[end:]
        if not relays or not digests or len(digests) % DIGEST_BYTES:
            raise WireError(f"{len(content)} bytes are no SLICES")
        each = range(0, len(digests), DIGEST_BYTES)
        routes = Routes.unpack(content[:end])
        return cls(routes.relays, tuple(digests[start : start + DIGEST_BYTES] for start in each), routes.resting)
