"""Agreement of gradients that are nearly equal, for hosts that do not compute the same bits."""

from collections.abc import Mapping, Sequence, Set

import numpy as np

from detox.ps.ballots.ballot import Ballot, is_finite
from detox.ps.ballots.tally import Tally
from detox.ps.events import Event, EventKind

_CHUNK = 2**16  # entries that are float64 at a time


def distance(a: np.ndarray, b: np.ndarray, d: int, words: int = 0) -> float:
    """|a - b| / max(|a|, |b|) of two gradients, or of the buffers behind them, whichever are farther apart.

    A metric; in float64. 0 where both vectors are 0, infinite where one is not finite, or exact buffers differ.

    Args:
        a, b: (d + b,) each.
        d: entries of the gradient. Batch-norm statistics are far longer than it: in one norm with them it would hide.
        words: the last entries, of the exact buffers; see ExactBuffers.
    """
    end = len(a) - words
    if not np.array_equal(a[end:], b[end:]):
        return float("inf")
    return max(_relative(a[:d], b[:d]), _relative(a[d:end], b[d:end]))


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    squares = np.zeros(3)
    for begin in range(0, len(a), _CHUNK):
        x, y = (vector[begin : begin + _CHUNK].astype(np.float64) for vector in (a, b))
        with np.errstate(invalid="ignore"):
            squares += x @ x, y @ y, (x - y) @ (x - y)
    if not np.isfinite(squares).all():
        return float("inf")
    largest = max(squares[:2])
    return float(np.sqrt(squares[2] / largest)) if largest else 0.0


class NearTally(Tally):
    """A tally of copies of which two agree if they are at most a tolerance apart.

    The vote is the copy that a strict majority of all holders is near to, itself included; of several, the one with
    the most that are near, then with the least sum of their distances, then with the least id: the order of arrival
    decides nothing. Where the copies of honest holders are within the tolerance of each other and Byzantine holders
    are a minority, an honest copy is near to the vote, and every honest copy at most twice as far: whoever is
    farther dissents, and whoever is between is undecided.

    Args:
        holders: the workers of the file, r of them.
        tolerance: the greatest distance of two copies that agree.
    """

    def __init__(self, holders: Sequence[int], tolerance: float) -> None:
        super().__init__(holders)
        self._tolerance = tolerance
        self._apart: dict[int, dict[int, float]] = {}

    def compare(self, worker: int, apart: Mapping[int, float]) -> None:
        """Counts the copy of a holder.

        Args:
            worker: the holder.
            apart: the distance of its copy from each copy before it, and from itself: infinite if it is not finite.
        """
        self.claim(worker, worker)
        self._apart[worker] = dict(apart)
        for other, far in apart.items():
            self._apart[other][worker] = far

    @property
    def majority(self) -> int | None:
        """The holder whose copy is the vote."""
        ranked = []
        for worker in self._apart:
            near = self._near(worker)
            if 2 * len(near) > len(self.holders):
                ranked.append((-len(near), sum(sorted(self._apart[worker][other] for other in near)), worker))
        return min(ranked)[-1] if ranked else None

    @property
    def supporters(self) -> list[int]:
        """The holders whose copies are near to the vote, in order of arrival."""
        centre = self.majority
        return [] if centre is None else self._near(centre)

    def says_of(self, worker: int) -> EventKind:
        """What the vote says of a holder; undecided where an honest one could be as far from the vote."""
        centre = self.majority
        if centre is None or worker not in self.claims:
            return super().says_of(worker)
        apart = self._apart[centre].get(worker, float("inf"))
        if apart <= self._tolerance:
            return EventKind.AGREED
        return EventKind.UNDECIDED if apart <= 2 * self._tolerance else EventKind.DISSENTED

    def contradicting(self, worker: int) -> tuple[int, ...]:
        """Nobody: copies that differ prove nothing where hosts compute other bits."""
        return ()

    def _most(self) -> tuple[int | None, int]:
        """The holder whose copy most are near to, and how many these are."""
        sizes = [(len(self._near(worker)), worker) for worker in self._apart]
        return max(((worker, size) for size, worker in sizes), key=lambda item: item[1], default=(None, 0))

    def _near(self, worker: int) -> list[int]:
        return [other for other, apart in self._apart[worker].items() if apart <= self._tolerance]


class ToleranceBallot(Ballot):
    """Every holder sends its gradient; copies that are nearly equal agree, and the vote is one of them.

    Args:
        step, file, row: see Ballot.
        holders: of the file.
        tolerance: the greatest distance of two copies that agree.
        d, words: entries of the gradient in a vector, and of exact buffers at its end.
    """

    direct = True
    tally: NearTally

    def __init__(
        self, step: int, file: int, holders: Sequence[int], row: np.ndarray, *, tolerance: float, d: int, words: int = 0
    ) -> None:
        super().__init__(step, file, NearTally(holders, tolerance), row)
        self._d, self._words = d, words
        self._copies: dict[int, np.ndarray] = {}

    @staticmethod
    def why_not(*, recomputes: bool, compression: str, exact: str) -> str:
        """What this vote rules out, in words, with what to do; empty where all goes together.

        Args:
            recomputes: whether the PS may compute gradients itself, whose bits a worker's need not equal.
            compression: the kind; rounded or as signs, nearly equal entries may differ.
            exact: the aggregator, if it tolerates no bad vote; a vote within the tolerance may be one.
        """
        if recomputes:
            return (
                "the PS computes other bits than workers may, so it convicts nobody; leave recomputation off "
                '(on_tie = "drop", quarantine.policy not recompute, audit.ps = 0)'
            )
        if compression != "float32":
            return (
                f"what was nearly equal is not so as {compression}, and honest workers would dissent; "
                'set compression.kind = "float32"'
            )
        if exact:
            return (
                f"one Byzantine worker can be the vote of its group, within the bound, and {exact} tolerates no bad "
                "vote; give another aggregator"
            )
        return ""

    def expects(self, worker: int, claim: bool) -> bool:
        """Gradients only, of those that are asked."""
        return not claim and worker in self.tally.called

    def place(self, worker: int) -> np.ndarray:
        """Memory of its own for every copy."""
        return self._landing.place(worker, beside=True)

    def _deliver(self, worker: int, vector: np.ndarray) -> list[Event]:
        """Counts a copy as near to those that it is near to; the row is the vote so far."""
        apart = {other: distance(vector, theirs, self._d, self._words) for other, theirs in self._copies.items()}
        self._copies[worker] = vector
        self.tally.compare(worker, {**apart, worker: 0.0 if is_finite(vector) else float("inf")})
        if self.tally.majority is not None:
            self._row[:] = self._copies[self.tally.majority]
            self.settled = True
        return []

    def _garbled(self, worker: int, why: str) -> list[Event]:
        """Such a copy is near to none."""
        self.tally.claim(worker, None)
        return [self._event(EventKind.MALFORMED, worker, why)]

    def finished(self, gone: Set[int]) -> bool:
        """Every copy has come that still can; or a vote has, where copies are lazy."""
        if self.settled and self.tally.lazy:
            return True
        return all(w in self.tally.claims or w in gone for w in self.tally.holders)

    def decide(self, vector: np.ndarray) -> None:
        """Nothing is decided: the PS computes other bits than workers may.

        Raises:
            ValueError: always.
        """
        raise ValueError("under a tolerance the PS cannot judge by its own computation")

    def dissenters(self) -> list[int]:
        """Nobody: how bits differ says nothing where all of them do."""
        return []

    def end(self, answered: Set[int]) -> list[Event]:
        """Lets go of the copies."""
        self._copies.clear()
        self._landing.clear()
        return []
