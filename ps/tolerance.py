"""Agreement of gradients that are nearly equal, for hosts that do not compute the same bits."""

from collections.abc import Mapping

import numpy as np

from detox.ps.vote import Ballot, Verdict

_CHUNK = 2**16  # entries that are float64 at a time


def distance(a: np.ndarray, b: np.ndarray, d: int) -> float:
    """|a - b| / max(|a|, |b|) of two gradients, or of the buffers behind them, whichever are farther apart.

    A metric; in float64. 0 where both vectors are 0, infinite where one is not finite.

    Args:
        a, b: (d + b,) each.
        d: entries of the gradient. Batch-norm statistics are far longer than it: in one norm with them it would hide.
    """
    return max(_relative(a[:d], b[:d]), _relative(a[d:], b[d:]))


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


class NearBallot(Ballot):
    """A ballot on copies of which two agree if they are at most a tolerance apart.

    The vote is the copy that a strict majority of all members is near to, itself included; of several, the one with
    the most that are near, then with the least sum of their distances, then with the least id: the order of arrival
    decides nothing. Where the copies of honest members are within the tolerance of each other and liars are a
    minority, an honest copy is near to the vote, and every honest copy at most twice as far: whoever is farther
    dissents, and of whom is between nothing is said.

    Args:
        members: the r workers of the group.
        tolerance: the greatest distance of two copies that agree.
    """

    def __init__(self, members: tuple[int, ...], tolerance: float) -> None:
        super().__init__(members)
        self._tolerance = tolerance
        self._apart: dict[int, dict[int, float]] = {}

    def compare(self, worker: int, apart: Mapping[int, float]) -> None:
        """Counts the copy of a member.

        Args:
            worker: the member.
            apart: the distance of its copy from each copy before it, and from itself: infinite if it is not finite.
        """
        self.claim(worker, worker)
        self._apart[worker] = dict(apart)
        for other, far in apart.items():
            self._apart[other][worker] = far

    @property
    def majority(self) -> int | None:
        """The member whose copy is the vote."""
        ranked = []
        for worker in self._apart:
            near = self._near(worker)
            if 2 * len(near) > len(self.members):
                ranked.append((-len(near), sum(sorted(self._apart[worker][other] for other in near)), worker))
        return min(ranked)[-1] if ranked else None

    @property
    def supporters(self) -> list[int]:
        """The members whose copies are near to the vote, in order of arrival."""
        centre = self.majority
        return [] if centre is None else self._near(centre)

    def verdict(self, worker: int) -> Verdict:
        """What the vote says of a member; nothing of whom an honest member could be."""
        centre = self.majority
        if centre is None or worker not in self.claims:
            return super().verdict(worker)
        apart = self._apart[centre].get(worker, float("inf"))
        if apart <= self._tolerance:
            return Verdict.AGREED
        return Verdict.UNDECIDED if apart <= 2 * self._tolerance else Verdict.DISSENTED

    def _near(self, worker: int) -> list[int]:
        return [other for other, apart in self._apart[worker].items() if apart <= self._tolerance]
