"""Which ranks pass on slices of the weights, by who has said lately that another's did not come."""

from collections import Counter
from collections.abc import Iterable, Set

from detox.wire.relay import fewest

_WINDOW = 32  # steps for which a complaint counts
_SHARE = 8  # of the ranks, with one of which a rank may have complaints: that much is chance, on many links


class Relays:
    """The ranks that a step's weights are cut for; all others get them whole from the PS.

    A complaint does not say who is to blame, the rank that did not deliver or the one that says so: it is an edge
    between the two, and proves nothing alone. But where at most q ranks do wrong, one with more than q edges of late is
    one of them, or slow, and passes nothing on; and its edges speak against nobody else. Nor does a rank with a worker
    that is left out, or late, pass anything on.

    Args:
        ranks: of workers.
        q: Byzantine workers to tolerate.
    """

    def __init__(self, ranks: Iterable[int], q: int) -> None:
        n = len(set(ranks))
        self._fewest = fewest(n)
        self._most = max(1, q, n // _SHARE)
        self._last: dict[frozenset[int], int] = {}  # step of the last complaint between two ranks

    def choose(self, step: int, ready: Set[int], out: Set[int]) -> tuple[int, ...]:
        """The ranks to cut the weights for, ascending; none where these are too few to pay.

        Args:
            step: the step.
            ready: ranks that get its weights.
            out: ranks that are not to pass anything on.
        """
        self._last = {edge: last for edge, last in self._last.items() if last >= step - _WINDOW}
        able = sorted(ready - out - self.resting)
        return tuple(able) if len(able) >= self._fewest else ()

    def complain(self, step: int, by: int, about: int) -> None:
        """A rank says that another's slice did not come, or was wrong."""
        if by != about:
            self._last[frozenset((by, about))] = step

    @property
    def resting(self) -> frozenset[int]:
        """Ranks that have more complaints with others than honest and prompt ones can have, those with most first."""
        resting: set[int] = set()
        while True:
            edges = Counter(rank for edge in self._last if not edge & resting for rank in edge)
            rank, count = max(edges.items(), key=lambda item: (item[1], -item[0]), default=(0, 0))
            if count <= self._most:
                return frozenset(resting)
            resting.add(rank)
