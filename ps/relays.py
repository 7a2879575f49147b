"""Which ranks pass on slices of the weights, by who has said lately that another's did not come."""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Set
from itertools import islice

from detox.wire.slices import Routes, audience, fewest

_WINDOW = 32  # steps for which a complaint counts
_SHARE = 8  # of the ranks, with one of which a rank may have complaints: that much is chance, on many links
_OFTEN = 4  # steps of these, in which two ranks have complaints: it is no chance


class Relays:
    """The ways on which a step's weights go to the ranks.

    A complaint does not say who is to blame, the rank that did not deliver or the one that says so: it is an edge
    between the two, and proves nothing alone. But where at most q ranks do wrong, one with more than q edges of late is
    one of them, or slow, and passes nothing on; and its edges speak against nobody else. Among many ranks a slice is
    late by chance too: so an edge counts like this where it is there in four steps of the last 32, and all of them,
    where they are with more than an eighth of the ranks. It still gets slices, for the servers' links are what is
    scarce; but where many rest, some of them by turns the weights whole, at most q, lest the others send much more than
    the weights each. A rank that itself says of so many that theirs did not come gets the weights whole; so does one
    with a worker that is left out, or late, which passes nothing on either.

    Args:
        ranks: of workers.
        q: Byzantine workers to tolerate.
        servers: that share the weights.
        apart: ranks that others do not reach now; it may change.
    """

    def __init__(self, ranks: Iterable[int], q: int, servers: int = 1, apart: Set[int] = frozenset()) -> None:
        n = len(set(ranks))
        self._apart = apart
        self._fewest = fewest(n, servers)
        self._servers = servers
        self._q = q
        self._wrong = max(1, q)  # ranks, that can be to blame for what is no chance
        self._chance = max(self._wrong, n // _SHARE)
        self._complaints: set[tuple[int, int, int]] = set()  # a step, who complains, and about whom

    def choose(self, step: int, ready: Set[int], out: Set[int]) -> Routes:
        """The ways of a step's weights, ranks ascending; whole to all where too few can pass them on.

        Args:
            step: the step.
            ready: ranks that get its weights.
            out: ranks that are not to pass anything on.
        """
        self._complaints = {complaint for complaint in self._complaints if complaint[0] >= step - _WINDOW}
        able, tired = ready - out - self._apart, self.resting
        relays, resting = able - tired, (able & tired) - self._unserved
        if len(relays) < self._fewest:
            return Routes(whole=tuple(sorted(ready)))
        resting -= self._spared(step, len(relays), resting, others=len(ready - relays - resting))
        return Routes(*(tuple(sorted(ranks)) for ranks in (relays, resting, ready - relays - resting)))

    def _spared(self, step: int, relays: int, resting: Set[int], others: int) -> set[int]:
        """Which of those that rest get the weights whole in a step, beside so many others that do."""
        beyond = relays - 1 + len(resting) - audience(relays, self._servers)
        count = max(0, min(beyond, self._q - others))
        turns = deque(sorted(resting))
        turns.rotate(-step)
        return set(islice(turns, count))

    def complain(self, step: int, by: int, about: int) -> None:
        """A rank says that another's slice did not come, or was wrong."""
        self._complaints.add((step, by, about))

    @property
    def resting(self) -> frozenset[int]:
        """Ranks that have more complaints with others than honest and prompt ones can have, those with most first."""
        steps = Counter(edge for _, edge in {(at, frozenset(two)) for at, *two in self._complaints})
        often = [edge for edge, count in steps.items() if count >= _OFTEN]
        resting = _cover(steps.keys(), self._chance)
        return resting | _cover([edge for edge in often if not edge & resting], self._wrong)

    @property
    def _unserved(self) -> frozenset[int]:
        """Ranks that say of more others than chance that their slices did not come."""
        counts = Counter(by for by, _ in {(by, about) for _, by, about in self._complaints})
        return frozenset(rank for rank, count in counts.items() if count > self._chance)


def _cover(edges: Collection[frozenset[int]], most: int) -> frozenset[int]:
    """Takes away the ranks with most edges, and these, until none has more than `most`; the ranks that were taken."""
    taken: set[int] = set()
    while True:
        counts = Counter(rank for edge in edges if not edge & taken for rank in edge)
        rank, count = max(counts.items(), key=lambda item: (item[1], -item[0]), default=(0, 0))
        if count <= most:
            return frozenset(taken)
        taken.add(rank)
