"""Weights as slices that ranks pass on to each other: what is due from whom, when it is late, and what to ask for.

Nothing here sends or receives. detox.ps.outgoing cuts and sends; detox.worker.relay checks, passes on and asks. Where
several servers own a share of the weights each, each cuts its own, for ranks of its own.
"""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from detox.wire.messages import DIGEST_BYTES, WireError, digest_of

FROM_RANKS = 6
"""Ranks from which on slices pay: with six hosts a step was 1.5 times as quick, with 45 2.6 times; with three it
depends on the links (docs/experiments/cluster.md)."""
FROM_BYTES = 2**20
"""Bytes of weights from which on they pay: below, slices are messages of little more than their headers."""

_LATE = 2.5  # times what half of the slices took, after which the others are late
_QUIET = 4.0  # times what its own slice took, without a word while half are missing, after which all are late
_ROOM, _LONG = 0.1, 2.0  # seconds that each of the two is at least
_FIRST = 10.0  # seconds, in place of _LONG, for the first weights that come: every two ranks make a connection


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
class Slices:
    """Payload of SLICES: how a server's weights are cut in a step.

    Attributes:
        ranks: slice i goes to ranks[i], which passes it on to all others of these.
        digests: BLAKE3 of each slice.
    """

    ranks: tuple[int, ...]
    digests: tuple[bytes, ...]

    @classmethod
    def of(cls, weights: np.ndarray, ranks: tuple[int, ...]) -> "Slices":
        """Weights, (d + b,) float32, cut for these ranks."""
        n = len(ranks)
        return cls(ranks, tuple(digest_of(weights[cut(weights.size, n, i)]) for i in range(n)))

    @classmethod
    def limit(cls, ranks: int) -> int:
        """Bytes of the payload for so many ranks."""
        return (4 + DIGEST_BYTES) * ranks

    def pack(self) -> bytes:
        """The payload's bytes."""
        return b"".join(r.to_bytes(4, "little") + digest for r, digest in zip(self.ranks, self.digests, strict=True))

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> "Slices":
        """The inverse of pack."""
        content, each = bytes(payload), cls.limit(1)
        if not content or len(content) % each:
            raise WireError(f"{len(content)} bytes are no SLICES")
        parts = [content[start : start + each] for start in range(0, len(content), each)]
        return cls(tuple(int.from_bytes(p[:4], "little") for p in parts), tuple(p[4:] for p in parts))


@dataclass(frozen=True, slots=True)
class _Part:
    """A slice among all: where it is, and from which server and rank it is due."""

    server: int
    rank: int
    digest: bytes
    entries: slice


class Assembly:
    """The weights of one step at one rank, as their slices come.

    A slice is due from its server and from its own rank, until it is here. Late are those that have not come after 2.5
    times what half of them took, in this step or in earlier ones; or, before so many are here, where none has come for
    four times what this rank's own took. Each is asked for once. So no constant says how quick the links are, and a
    minority of ranks cannot make the others seem late.

    Args:
        slices: how each server's weights are cut; slices are numbered through, those of the first server first.
        rank: this rank, one of theirs.
        widths: entries that each server owns.
        now: seconds on a monotonic clock.
        usual: seconds that half of the slices took in earlier steps.
        first: whether no weights have come like this before.
        most: seconds that the wait for a rank may take.

    Attributes:
        ranks: that pass slices on, each the one of its place.
        own: the index of this rank's slice.
        weights: (sum of widths,) float32; right where it is `whole`.
        half_took: seconds that half of the slices took; infinite before.
    """

    def __init__(
        self,
        slices: Sequence[Slices],
        rank: int,
        widths: Sequence[int],
        now: float,
        *,
        usual: float = 0.0,
        first: bool = False,
        most: float = math.inf,
    ) -> None:
        self._parts: list[_Part] = []
        begin = 0
        for server, (share, width) in enumerate(zip(slices, widths, strict=True)):
            for index, (its, digest) in enumerate(zip(share.ranks, share.digests, strict=True)):
                entries = cut(width, len(share.ranks), index)
                entries = slice(begin + entries.start, begin + entries.stop)
                self._parts.append(_Part(server, its, digest, entries))
            begin += width
        self.ranks = tuple(part.rank for part in self._parts)
        self.own = self.ranks.index(rank)
        self.weights = np.empty(begin, np.float32)
        self._missing = set(range(len(self._parts)))
        self._asked: set[int] = set()
        self._wrong: set[int] = set()
        self._began = self._heard = now
        self._usual = usual
        self._own_took = self.half_took = math.inf  # seconds
        self._room = min(_LONG if first else _ROOM, most)
        self._long = min(_FIRST if first else _LONG, most)
        self._most = most

    @property
    def whole(self) -> bool:
        """Whether all slices are here."""
        return not self._missing

    def take(self, source: int, index: int, payload: bytes | memoryview, now: float) -> bool:
        """Takes a slice; whether it was due from this rank, and right. If not, nothing changes but what is asked for.

        Args:
            source: the rank that sent it, which may be a server.
            index: which slice the rank says it is.
            payload: its bytes.
            now: seconds on a monotonic clock.
        """
        if index not in self._missing:
            return False
        part = self._parts[index]
        if source not in (part.server, part.rank):
            return False
        place = self.weights[part.entries]
        content = np.frombuffer(payload, np.uint8)
        if content.size != place.nbytes or digest_of(content) != part.digest:
            self._wrong.add(index)
            return False
        place.view(np.uint8)[:] = content
        self._missing.discard(index)
        self._heard = now
        if index == self.own:
            self._own_took = now - self._began
        if math.isinf(self.half_took) and 2 * len(self._missing) <= len(self._parts):
            self.half_took = now - self._began
        return True

    def ask(self, now: float, dead: Set[int] = frozenset()) -> list[tuple[int, bool]]:
        """The slices to ask the PS for now, each with whether it came and was wrong.

        Args:
            now: seconds on a monotonic clock.
            dead: ranks that are lost.
        """
        late = self._late(now)
        asked = [
            (index, index in self._wrong)
            for index in sorted(self._missing - self._asked - {self.own})
            if late or index in self._wrong or self.ranks[index] in dead
        ]
        self._asked.update(index for index, _ in asked)
        return asked

    def _late(self, now: float) -> bool:
        if self.own in self._missing:
            return False  # its server itself is not that far
        if math.isfinite(self.half_took):
            took = max(self.half_took, self._usual)
            return now > self._began + max(self._room, min(_LATE * took, self._most))
        return now > self._heard + max(self._long, min(_QUIET * self._own_took, self._most))
