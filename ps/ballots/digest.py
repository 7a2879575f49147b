"""The vote on digests: holders claim, one copy of what a majority claims is fetched, and checked against the claim."""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from detox.ps.ballots.ballot import Ballot, is_finite
from detox.ps.ballots.tally import Tally
from detox.ps.events import Event, EventKind
from detox.ps.promises import QUICK, Promises
from detox.wire import DIGEST_BYTES, claim_of


class Verdict(IntEnum):
    """What a server finds a share to be that was fetched."""

    RIGHT = 0
    NONFINITE = 1
    LIED = 2
    GARBLED = 3
    UNREAD = 4  # another's is here already


def judge(vector: np.ndarray, claim: bytes) -> Verdict:
    """Whether a share, float32, is the one that was claimed, and finite."""
    if claim_of(vector) != claim:
        return Verdict.LIED
    return Verdict.RIGHT if is_finite(vector) else Verdict.NONFINITE


@dataclass
class _Delivery:
    """One server's share of the vote on its way: who was asked for it, and how that went."""

    asked: dict[int, float] = field(default_factory=dict)  # when; infinite: not yet, as far as is known
    answered: set[int] = field(default_factory=set)
    refuted: set[int] = field(default_factory=set)
    overdue: set[int] = field(default_factory=set)
    garbled: set[int] = field(default_factory=set)
    here: bool = False


class DigestBallot(Ballot):
    """Claims are digests of vectors; a strict majority on one digest is the vote (docs/protocol.md, step 3).

    With several servers a claim is the digests of their shares, which are voted on as one. Each server's share is
    fetched for itself, of several holders where that can be: any of the majority has the same.

    Args:
        step, file, row: see Ballot.
        holders: of the file.
        servers: that have the vote between them; the row is the first one's share.
    """

    direct = False

    def __init__(self, step: int, file: int, holders: Sequence[int], row: np.ndarray, servers: int = 1) -> None:
        super().__init__(step, file, Tally(holders), row)
        self._deliveries = [_Delivery() for _ in range(servers)]
        self._equivocated: set[int] = set()
        self._nonfinite = False

    def expects(self, worker: int, claim: bool) -> bool:
        """Claims of those that have work, a gradient once it has been asked for."""
        return worker in self.tally.called if claim else worker in self._deliveries[0].asked

    def claim(self, worker: int, claim: bytes) -> list[Event]:
        """Counts a holder's first claim."""
        if len(claim) != DIGEST_BYTES * len(self._deliveries):
            detail = f"a claim of {len(claim)} bytes, not of {DIGEST_BYTES * len(self._deliveries)}"
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

    def claimed(self, server: int) -> bytes:
        """The digest of a server's share that the majority claims."""
        majority = self.tally.majority
        assert isinstance(majority, bytes)
        return majority[server * DIGEST_BYTES : (server + 1) * DIGEST_BYTES]

    def place(self, worker: int) -> np.ndarray | None:
        """Nowhere, once the vote is here."""
        return None if self.settled or self._nonfinite or self._deliveries[0].here else super().place(worker)

    def _deliver(self, worker: int, vector: np.ndarray) -> list[Event]:
        """Accepts the vector if its digest is the majority's."""
        verdict = judge(vector, self.claimed(0))
        if verdict == Verdict.RIGHT:
            self._landing.clear()
            self._landing.write(vector)
        return self.delivered(0, worker, verdict)

    def _garbled(self, worker: int, why: str) -> list[Event]:
        """The next of the majority is asked; the promise is broken, which `end` notes as withheld."""
        return self.delivered(0, worker, Verdict.GARBLED, why)

    def delivered(self, server: int, worker: int, verdict: Verdict, why: str = "") -> list[Event]:
        """Takes what a server found the share to be that a holder sent it.

        Args:
            server: whose share it is.
            worker: the holder, which it has asked; see confirmed.
            verdict: on it.
            why: it is GARBLED.
        """
        delivery = self._deliveries[server]
        delivery.answered.add(worker)
        if self.settled or self._nonfinite or delivery.here or verdict == Verdict.UNREAD:
            return []
        if verdict in (Verdict.LIED, Verdict.GARBLED):
            delivery.refuted.add(worker)
        if verdict == Verdict.LIED:
            return [self._event(EventKind.LIED, worker, "its gradient is not the one that it claimed")]
        if verdict == Verdict.GARBLED:
            delivery.garbled.add(worker)
            return [self._event(EventKind.MALFORMED, worker, why)]
        delivery.here = True
        self._nonfinite = verdict == Verdict.NONFINITE
        return self._accept(not self._nonfinite) if self._nonfinite or not self._lacking else []

    @property
    def _lacking(self) -> list[_Delivery]:
        """Shares that are not here."""
        return [delivery for delivery in self._deliveries if not delivery.here]

    def ask(
        self, now: float, promises: Promises, gone: Set[int], stragglers: Set[int], given_up: Set[int] = frozenset()
    ) -> int | None:
        """One of the majority, and the next where one did not deliver in time."""
        return self._ask(self._deliveries[0], now, promises, gone, stragglers, given_up)

    def ask_elsewhere(
        self, now: float, promises: Promises, gone: Set[int], stragglers: Set[int], given_up: Set[int] = frozenset()
    ) -> list[tuple[int, int]]:
        """The same for the share of each further server; others of the majority, as long as there are as quick ones.

        Their time begins when the server has asked them (`confirmed`), for who is slow may be the server.
        """
        asked = []
        for server, delivery in enumerate(self._deliveries[1:], 1):
            worker = self._ask(delivery, now, promises, gone, stragglers, given_up)
            if worker is not None:
                delivery.asked[worker] = math.inf
                asked.append((worker, server))
        return asked

    def confirmed(self, server: int, worker: int, now: float) -> None:
        """A further server has asked a holder."""
        self._deliveries[server].asked[worker] = now

    def since(self, server: int, worker: int) -> float:
        """When a server asked a holder; infinite where that is not confirmed."""
        return self._deliveries[server].asked[worker]

    def _ask(
        self,
        delivery: _Delivery,
        now: float,
        promises: Promises,
        gone: Set[int],
        stragglers: Set[int],
        given_up: Set[int],
    ) -> int | None:
        tally = self.tally
        if self.settled or self.failed or delivery.here or tally.majority is None:
            return None
        for worker, since in delivery.asked.items():
            if worker in gone or now - since > promises.patience(worker):
                delivery.overdue.add(worker)
        if any(worker not in delivery.refuted | delivery.overdue for worker in delivery.asked):
            return None
        others = set(tally.supporters) - delivery.asked.keys() - gone
        if others:

            def order(worker: int) -> tuple[int, int, int, float]:
                broken, pace = promises.order(worker)
                return broken, int(pace / QUICK), sum(worker in other.asked for other in self._deliveries), pace

            worker = min((w for w in tally.holders if w in others), key=order)
            delivery.asked[worker] = now
            return worker
        if all(w in tally.claims or w in gone | stragglers for w in tally.holders):
            # Who delivers slowly for the first time has until it is given up, or until the deadline of the step.
            self.failed = all(
                w in delivery.refuted | gone | given_up
                or (promises.broken(w) and now - since > promises.last_chance(w))
                for w, since in delivery.asked.items()
            )
        return None

    def lacking(self, out: Set[int], gone: Set[int]) -> int:
        """One more, too, where none of a majority delivers."""
        tally = self.tally
        if tally.majority is None:
            return tally.lacking(out)
        coming = any(w not in tally.claims and w not in out for w in tally.called)
        return int(not coming and not self._deliverable(gone))

    def _deliverable(self, gone: Set[int]) -> bool:
        """Whether each share that is not here may still come of one of the majority."""
        supporters = set(self.tally.supporters) - gone
        return all(supporters - delivery.refuted - delivery.overdue for delivery in self._lacking)

    def finished(self, gone: Set[int]) -> bool:
        """There is a vote, or there can be none."""
        return self.failed or self.settled or self.tally.hopeless(gone)

    def missing(self, gone: Set[int]) -> list[int]:
        """Nobody, once a majority has claimed: what is awaited then is its gradient, until it is overdue."""
        return [] if self.tally.majority is not None and self._deliverable(gone) else super().missing(gone)

    def owing(self, gone: Set[int]) -> dict[int, float]:
        """Of those that were asked, once all of the majority have been."""
        if self.finished(gone):
            return {}
        supporters = set(self.tally.supporters)
        late = [delivery for delivery in self._lacking if not supporters - delivery.asked.keys() - gone]
        owing = dict[int, float]()
        for delivery in late:
            for worker, since in delivery.asked.items():
                if worker not in delivery.refuted | gone and math.isfinite(since):
                    owing[worker] = min(since, owing.get(worker, math.inf))
        return owing

    def decide(self, vector: np.ndarray) -> None:
        """The digest of the PS's own vector is the vote."""
        self.tally.decide(claim_of(vector))
        self._landing.clear()
        self._landing.write(vector)
        self._accept(is_finite(vector))

    def end(self, answered: Set[int]) -> list[Event]:
        """Names who claimed and did not deliver: not at all while it was needed, or nothing that can be decoded."""
        self._landing.clear()
        self._deliveries[0].answered |= answered
        delivered = self.settled and self.tally.truth is None
        withheld = [
            worker
            for delivery in self._deliveries
            for worker, since in delivery.asked.items()
            if worker in delivery.garbled
            or (
                worker not in delivery.answered
                and math.isfinite(since)
                and (worker in delivery.overdue or not delivered)
            )
        ]
        detail = "claimed a gradient and did not deliver it"
        return [self._event(EventKind.WITHHELD, worker, detail) for worker in dict.fromkeys(withheld)]
