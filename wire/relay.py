"""Weights as slices that ranks pass on to each other: what is due from whom, when it is late, and what to ask for.

Nothing here sends or receives. detox.ps.outgoing cuts and sends; detox.worker.relay checks, passes on and asks. Where
several servers own a share of the weights each, each cuts its own, for ranks of its own.
"""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from detox.wire.messages import digest_of
from detox.wire.slices import cut, divide

_LATE = 2.5  # times what half of the slices took, after which the others are late
_QUIET = 4.0  # times what its own slice took, without a word while half are missing, after which all are late
_ROOM, _LONG = 0.1, 2.0  # seconds that each of the two is at least
_FIRST = 10.0  # seconds, in place of _LONG, for the first weights that come: every two ranks make a connection


@dataclass(frozen=True, slots=True)
class _Part:
    """A slice among all: from which server and rank it is due, and where it is."""

    server: int
    rank: int
    entries: slice


class Assembly:
    """The weights of one step at one rank, as their slices come.

    A slice is due from its server and from its own rank, until it is here. Each server's slices are known, and their
    time runs, from when it has told their digests (`begin`). Late are those that have not come after 2.5 times what
    half of them took, with the server where that took longest, in this step or in earlier ones; or, before so many are
    here, where none has come for four times what this rank's own took, or half of them usually; that alone where it has
    none. Each is asked for once.
    So no constant says how quick the links are, a slow server makes none of its ranks late, and a minority of ranks
    cannot make the others seem late: it is no half of all servers' ranks.

    Args:
        relays: that pass slices on, each the one of its place; slices are numbered through, see `divide`.
        rank: this rank, a relay or resting.
        widths: entries that each server owns.
        resting: that pass none on, see Routes.
        usual: seconds that half of the slices took in earlier steps.
        first: whether no weights have come like this before.
        most: seconds that the wait for a rank may take.

    Attributes:
        relays: as given.
        own: the index of this rank's slice; None where it rests.
        audience: ranks that this one passes it on to; none where it rests.
        weights: (sum of widths,) float32; right where it is `whole`.
    """

    def __init__(
        self,
        relays: Sequence[int],
        rank: int,
        widths: Sequence[int],
        *,
        resting: Sequence[int] = (),
        usual: float = 0.0,
        first: bool = False,
        most: float = math.inf,
    ) -> None:
        self.relays = tuple(relays)
        self.own = self.relays.index(rank) if rank in self.relays else None
        self.audience = () if self.own is None else tuple(other for other in (*relays, *resting) if other != rank)
        self.weights = np.empty(sum(widths), np.float32)
        by_server = divide(self.relays, widths)
        starts = list(accumulate(widths, initial=0))
        self._parts = [
            _Part(server, its, slice(starts[server] + entries.start, starts[server] + entries.stop))
            for server, some in enumerate(by_server)
            for its, entries in zip(some, (cut(widths[server], len(some), i) for i in range(len(some))), strict=True)
        ]
        self._digests: dict[int, bytes] = {}  # of the slices that it has been told of
        self._missing = set(range(len(self._parts)))
        self._left = [len(some) for some in by_server]  # slices that are missing, by server
        self._counts = tuple(self._left)
        self._asked: set[int] = set()
        self._wrong: set[int] = set()
        self._began: dict[int, float] = {}  # by server
        self._heard = 0.0
        self._usual = usual
        self._own_took = usual if self.own is None else math.inf  # seconds
        self._halves = [math.inf for _ in widths]  # seconds that half of a server's slices took
        self._room = min(_LONG if first else _ROOM, most)
        self._long = min(_FIRST if first else _LONG, most)
        self._most = most

    @property
    def whole(self) -> bool:
        """Whether all slices are here."""
        return not self._missing

    @property
    def half_took(self) -> float:
        """Seconds that half of the slices took with the server where it took longest; infinite before."""
        return max(self._halves)

    def knows(self, index: int) -> bool:
        """Whether its server has told of this slice."""
        return index in self._digests

    def begin(self, server: int, digests: Sequence[bytes], now: float) -> None:
        """A server has told the digests of its slices, which are due from now on.

        Args:
            server: the server.
            digests: of its slices in order.
            now: seconds on a monotonic clock.
        """
        own = [index for index, part in enumerate(self._parts) if part.server == server]
        self._digests |= zip(own, digests, strict=True)
        self._began[server] = self._heard = now

    def take(self, source: int, index: int, payload: bytes | memoryview, now: float) -> bool:
        """Takes a slice; whether it was due from this rank, and right. If not, nothing changes but what is asked for.

        Args:
            source: the rank that sent it, which may be a server.
            index: which slice the rank says it is.
            payload: its bytes.
            now: seconds on a monotonic clock; when its server's slices began to be due, for one that came before.
        """
        if index not in self._missing or not self.knows(index):
            return False
        part = self._parts[index]
        server = part.server
        if source not in (server, part.rank):
            return False
        place = self.weights[part.entries]
        content = np.frombuffer(payload, np.uint8)
        if content.size != place.nbytes or digest_of(content) != self._digests[index]:
            self._wrong.add(index)
            return False
        place.view(np.uint8)[:] = content
        self._missing.discard(index)
        self._left[server] -= 1
        took = now - self._began[server]
        self._heard = now
        if index == self.own:
            self._own_took = took
        if math.isinf(self._halves[server]) and 2 * self._left[server] <= self._counts[server]:
            self._halves[server] = took
        return True

    def ask(self, now: float, dead: Set[int] = frozenset()) -> list[tuple[int, bool]]:
        """The slices to ask the PS for now, and of each whether a wrong one has come.

        Args:
            now: seconds on a monotonic clock.
            dead: ranks that are lost.
        """
        asked = [
            (index, index in self._wrong)
            for index in sorted(self._missing & self._digests.keys() - self._asked - {self.own})
            if index in self._wrong or self.relays[index] in dead or self._late(self._parts[index].server, now)
        ]
        self._asked.update(index for index, _ in asked)
        return asked

    def _late(self, server: int, now: float) -> bool:
        """Whether this server's slices that are missing are late."""
        if self.own in self._missing:
            return False  # its server itself is not that far
        if math.isfinite(self.half_took):
            took = max(self.half_took, self._usual)
            return now > self._began[server] + max(self._room, min(_LATE * took, self._most))
        own = self.own is not None and server == self._parts[self.own].server
        took = self._own_took if own else max(self._own_took, self._usual)
        return now > self._heard + max(self._long, min(_QUIET * took, self._most))
