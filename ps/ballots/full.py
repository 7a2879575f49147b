"""The vote on whole copies, compared bit by bit: the paper's protocol, and the vanilla system."""

from collections.abc import Sequence, Set

import numpy as np

from detox.ps.ballots.ballot import Ballot, is_finite
from detox.ps.ballots.tally import Tally
from detox.ps.events import Event, EventKind


class FullBallot(Ballot):
    """Every holder sends its gradient; a strict majority on equal bits is the vote, and every copy is waited for.

    Args:
        step, file, row: see Ballot.
        holders: of the file; one alone is its own majority.
    """

    direct = True

    def __init__(self, step: int, file: int, holders: Sequence[int], row: np.ndarray) -> None:
        super().__init__(step, file, Tally(holders), row)
        self._copies: list[np.ndarray] = []  # that differ, one of them in the row

    def expects(self, worker: int, claim: bool) -> bool:
        """Gradients only, of those that are asked."""
        return not claim and worker in self.tally.called

    def place(self, worker: int) -> np.ndarray:
        """The row for the first copy, and memory of its own for every further one."""
        return self._landing.place(worker, beside=bool(self._copies))

    def _deliver(self, worker: int, vector: np.ndarray) -> list[Event]:
        """Counts a copy as a claim of the first one with the same bits."""
        candidate = self._candidate(vector)
        if candidate == len(self._copies):
            self._copies.append(vector)
        self.tally.claim(worker, candidate)
        if self.settled or self.failed or self.tally.majority != candidate:
            return []
        self._write(self._copies[candidate])
        self._copies[candidate] = self._row
        return self._accept(is_finite(self._row))

    def _write(self, vector: np.ndarray) -> None:
        """A copy in the row goes elsewhere, too."""
        if vector is not self._row:
            self._copies = [copy.copy() if copy is self._row else copy for copy in self._copies]
        self._landing.write(vector)

    def _garbled(self, worker: int, why: str) -> list[Event]:
        """Such a copy agrees with nobody."""
        self.tally.claim(worker, None)
        return [self._event(EventKind.MALFORMED, worker, why)]

    def finished(self, gone: Set[int]) -> bool:
        """Every copy has come that still can; or a vote has, where copies are lazy."""
        if self.failed or (self.settled and self.tally.lazy):
            return True
        return all(w in self.tally.claims or w in gone for w in self.tally.holders)

    def decide(self, vector: np.ndarray) -> None:
        """The PS's own vector is the vote, and a copy like the others."""
        self.tally.decide(self._candidate(vector))
        self._write(vector)
        self._copies.append(self._row)
        self._accept(is_finite(vector))

    def end(self, answered: Set[int]) -> list[Event]:
        """Lets go of the copies."""
        self._copies.clear()
        self._landing.clear()
        return []

    def copy_of(self, worker: int) -> np.ndarray | None:
        """Until the collection ends."""
        candidate = self.tally.claims.get(worker)
        return self._copies[candidate] if self._copies and isinstance(candidate, int) else None

    def _candidate(self, vector: np.ndarray) -> int:
        """Index of the first copy with the same bits; their number if there is none."""
        bits = vector.view(np.uint32)
        equal = (i for i, other in enumerate(self._copies) if np.array_equal(bits, other.view(np.uint32)))
        return next(equal, len(self._copies))
