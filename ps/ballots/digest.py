"""The vote on digests: holders claim, one copy of what a majority claims is fetched, and checked against the claim."""

from collections.abc import Sequence, Set

import numpy as np

from detox.ps.ballots.ballot import Ballot, is_finite
from detox.ps.ballots.tally import Tally
from detox.ps.events import Event, EventKind
from detox.ps.promises import Promises
from detox.wire import DIGEST_BYTES, claim_of


class DigestBallot(Ballot):
    """Claims are digests of vectors; a strict majority on one digest is the vote (docs/protocol.md, step 3).

    Args:
        step, file, row: see Ballot.
        holders: of the file.
    """

    direct = False

    def __init__(self, step: int, file: int, holders: Sequence[int], row: np.ndarray) -> None:
        super().__init__(step, file, Tally(holders), row)
        self._asked: dict[int, float] = {}
        self._refuted: set[int] = set()
        self._overdue: set[int] = set()
        self._garbled: set[int] = set()
        self._equivocated: set[int] = set()
        self._nonfinite = False

    def expects(self, worker: int, claim: bool) -> bool:
        """Claims of those that have work, a gradient once it has been asked for."""
        return worker in self.tally.called if claim else worker in self._asked

    def claim(self, worker: int, claim: bytes) -> list[Event]:
        """Counts a holder's first claim."""
        if len(claim) != DIGEST_BYTES:
            detail = f"a claim of {len(claim)} bytes, a digest has {DIGEST_BYTES}"
            return [self._event(EventKind.MALFORMED, worker, detail)]
        earlier = self.tally.claims.get(worker)
        if earlier is None:
            self.tally.claim(worker, claim)
            return []
        if earlier == claim:
            return [self._event(EventKind.MALFORMED, worker, "claimed the same twice")]
        if worker in self._equivocated:
            return [self._event(EventKind.MALFORMED, worker, "claimed yet something else")]
        self._equivocated.add(worker)
        detail = "claimed something else before; the first claim counts"
        return [self._event(EventKind.EQUIVOCATED, worker, detail)]

    def place(self) -> np.ndarray | None:
        """The row itself, until it holds the vote."""
        return None if self.settled or self._nonfinite else self._row

    def deliver(self, worker: int, vector: np.ndarray) -> list[Event]:
        """Accepts the vector if its digest is the majority's."""
        if claim_of(vector) != self.tally.majority:
            self._refuted.add(worker)
            return [self._event(EventKind.LIED, worker, "its gradient is not the one that it claimed")]
        finite = is_finite(vector)
        self._nonfinite = not finite
        return self._accept(finite)

    def garbled(self, worker: int, why: str) -> list[Event]:
        """The next of the majority is asked; the promise is broken, which `end` notes as withheld."""
        self._refuted.add(worker)
        self._garbled.add(worker)
        return [self._event(EventKind.MALFORMED, worker, why)]

    def ask(
        self, now: float, promises: Promises, gone: Set[int], stragglers: Set[int], given_up: Set[int] = frozenset()
    ) -> int | None:
        """One of the majority, and the next where one did not deliver in time."""
        tally = self.tally
        if self.settled or self.failed or tally.majority is None:
            return None
        for worker, since in self._asked.items():
            if worker in gone or now - since > promises.patience(worker):
                self._overdue.add(worker)
        if any(worker not in self._refuted | self._overdue for worker in self._asked):
            return None
        others = set(tally.supporters) - self._asked.keys() - gone
        if others:
            worker = min((w for w in tally.holders if w in others), key=promises.order)
            self._asked[worker] = now
            return worker
        if all(w in tally.claims or w in gone | stragglers for w in tally.holders):
            # Who delivers slowly for the first time has until it is given up, or until the deadline of the step.
            self.failed = all(
                w in self._refuted | gone | given_up or (promises.broken(w) and now - since > promises.last_chance(w))
                for w, since in self._asked.items()
            )
        return None

    def lacking(self, out: Set[int], gone: Set[int]) -> int:
        """One more, too, where none of a majority delivers."""
        tally = self.tally
        if tally.majority is None:
            return tally.lacking(out)
        coming = any(w not in tally.claims and w not in out for w in tally.called)
        return int(not coming and not set(tally.supporters) - self._refuted - self._overdue - gone)

    def finished(self, gone: Set[int]) -> bool:
        """There is a vote, or there can be none."""
        return self.failed or self.settled or self.tally.hopeless(gone)

    def missing(self, gone: Set[int]) -> list[int]:
        """Nobody, once a majority has claimed: what is awaited then is its gradient, until it is overdue."""
        coming = set(self.tally.supporters) - self._refuted - self._overdue - gone
        return [] if self.tally.majority is not None and coming else super().missing(gone)

    def owing(self, gone: Set[int]) -> list[int]:
        """Of those that were asked, once all of the majority have been."""
        if self.finished(gone) or set(self.tally.supporters) - self._asked.keys() - gone:
            return []
        return [worker for worker in self._asked if worker not in self._refuted | gone]

    def decide(self, vector: np.ndarray) -> None:
        """The digest of the PS's own vector is the vote."""
        self.tally.decide(claim_of(vector))
        self._row[:] = vector
        self._accept(is_finite(vector))

    def awaited(self, answered: Set[int]) -> list[int]:
        """Of those that were asked."""
        return [worker for worker in self._asked if worker not in answered]

    def end(self, answered: Set[int]) -> list[Event]:
        """Names who claimed and did not deliver: not at all while it was needed, or nothing that can be decoded."""
        delivered = self.settled and self.tally.truth is None
        withheld = [
            worker
            for worker in self._asked
            if worker in self._garbled or (worker not in answered and (worker in self._overdue or not delivered))
        ]
        detail = "claimed a gradient and did not deliver it"
        return [self._event(EventKind.WITHHELD, worker, detail) for worker in withheld]
