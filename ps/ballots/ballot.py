"""The vote on one file, whatever its mode: messages of its holders in, events out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import ClassVar

import numpy as np

from detox.ps.ballots.tally import Outcome, Tally
from detox.ps.events import Event, EventKind
from detox.ps.landing import Landing
from detox.ps.promises import Promises


class Ballot(ABC):
    """The vote on one file in one step.

    It knows neither MPI nor a clock, codec or ledger: a decoded vector comes in, and what there is to say of a
    worker goes out as events.

    Args:
        step: the step.
        file: the file.
        tally: counts the claims.
        row: (d + b,) float32; receives the vote.

    Attributes:
        direct: whether gradients come without a claim.
        settled: whether the vote has been accepted; it is in the row then.
        failed: whether to wait for it no longer.
    """

    direct: ClassVar[bool]

    @staticmethod
    def why_not(*, recomputes: bool, compression: str, exact: str) -> str:
        """Why a run cannot vote so, with what to do; empty where it can.

        Args:
            recomputes: whether the PS may have to compute gradients itself.
            compression: what becomes of gradients on their way, see CompressionConfig.kind.
            exact: the aggregator, if it tolerates no bad vote; or empty.
        """
        return ""

    def __init__(self, step: int, file: int, tally: Tally, row: np.ndarray) -> None:
        self.step = step
        self.file = file
        self.tally = tally
        self.settled = False
        self.failed = False
        self._row = row
        self._landing = Landing(row)

    def defer(self, first: int) -> None:
        """Only the first holders are asked at once; the others wait for `call`."""
        self.tally.defer(first)

    @abstractmethod
    def expects(self, worker: int, claim: bool) -> bool:
        """Whether a holder's claim, or else its gradient, is asked for."""

    def claim(self, worker: int, claim: bytes) -> list[Event]:
        """Takes a claim that is expected; a direct ballot expects none."""
        return []

    def place(self, worker: int) -> np.ndarray | None:
        """(d + b,) float32: where to decode the next chunk of a holder's gradient to; None where none is needed."""
        return self._landing.place(worker)

    def deliver(self, worker: int, vector: np.ndarray) -> list[Event]:
        """Takes a holder's first gradient, decoded into `place`."""
        self._landing.forget(worker)
        return self._deliver(worker, vector)

    def garbled(self, worker: int, why: str) -> list[Event]:
        """Takes note of a gradient that cannot be decoded."""
        self._landing.forget(worker)
        return self._garbled(worker, why)

    @abstractmethod
    def _deliver(self, worker: int, vector: np.ndarray) -> list[Event]:
        """See deliver."""

    @abstractmethod
    def _garbled(self, worker: int, why: str) -> list[Event]:
        """See garbled."""

    def ask(
        self, now: float, promises: Promises, gone: Set[int], stragglers: Set[int], given_up: Set[int] = frozenset()
    ) -> int | None:
        """The holder to ask for its gradient now, which is then expected; None: nobody.

        Args:
            now: seconds on a monotonic clock.
            promises: whom to ask first, and how long each has.
            gone: workers out of reach.
            stragglers: workers whose claims are not waited for.
            given_up: workers whose gradients are not waited for, either.
        """
        return None

    def ask_elsewhere(
        self, now: float, promises: Promises, gone: Set[int], stragglers: Set[int], given_up: Set[int] = frozenset()
    ) -> list[tuple[int, int]]:
        """The (holder, server) where a further server is to ask for its share now; see `ask`."""
        return []

    def call(self, absent: Set[int], gone: Set[int]) -> list[int]:
        """The deferred holders that are asked now, because those that were asked before make no vote.

        Args:
            absent: workers that are not waited for.
            gone: workers out of reach.
        """
        if self.settled or self.failed:
            return []
        return self.tally.call(self.lacking(absent | gone, gone), gone)

    def lacking(self, out: Set[int], gone: Set[int]) -> int:
        """How many holders more have to be asked at the least, for a vote.

        Args:
            out: workers that are not waited for, or out of reach.
            gone: those out of reach.
        """
        return self.tally.lacking(out)

    @abstractmethod
    def finished(self, gone: Set[int]) -> bool:
        """Whether nothing more can come of waiting, with the workers in `gone` out of reach."""

    def missing(self, gone: Set[int]) -> list[int]:
        """Holders whose claim, or gradient, keeps the ballot from being finished."""
        if self.finished(gone):
            return []
        return [worker for worker in self.tally.called if worker not in self.tally.claims and worker not in gone]

    def owing(self, gone: Set[int]) -> dict[int, float]:
        """Since when whose gradient, which it has claimed, is awaited, where no other holder's can be asked for."""
        return {}

    @property
    def needs_all(self) -> bool:
        """Whether there may be no vote without those that are missing: there is none yet, and no other to be called."""
        return not self.settled and len(self.tally.called) == len(self.tally.holders)

    @abstractmethod
    def decide(self, vector: np.ndarray) -> None:
        """Settles the vote by the PS's own computation, which convicts whoever claims, or has claimed, otherwise."""

    def end(self, answered: Set[int]) -> list[Event]:
        """Ends the collection: what there is to say of gradients that did not come. Claims still count."""
        return []

    @property
    def vote(self) -> np.ndarray:
        """(d + b,) float32: the vote, once it is settled and until the step's collection ends."""
        return self._row

    def dissenters(self) -> list[int]:
        """The holders that claim something else than the vote, once there is one."""
        blamed = (EventKind.DISSENTED, EventKind.CONVICTED)
        return [worker for worker in self.tally.called if self.settled and self.tally.says_of(worker) in blamed]

    def copy_of(self, worker: int) -> np.ndarray | None:
        """(d + b,) float32: what a holder has sent and not only claimed, as long as it is here."""
        return None

    def verdicts(self) -> list[Event]:
        """What the vote says of each holder that was asked, and who claimed otherwise than it."""
        events = []
        for worker in self.tally.called:
            kind = self.tally.says_of(worker)
            events.append(replace(self._event(kind, worker), others=self.tally.contradicting(worker)))
            if self.tally.truth is not None and kind == EventKind.AGREED:
                events.append(self._event(EventKind.CLEARED, worker))
        return events

    @property
    def outcome(self) -> Outcome:
        """How the holders voted; a majority that did not deliver a gradient that can be used is none."""
        return self.tally.outcome if self.settled else Outcome.NONE

    def _accept(self, finite: bool) -> list[Event]:
        """Accepts the vote, unless it is not finite: then its supporters are named, and there is none."""
        self.settled, self.failed = finite, not finite
        if finite:
            return []
        return [
            self._event(EventKind.NONFINITE, worker, "its gradient holds NaN or infinity")
            for worker in self.tally.supporters
        ]

    def _event(self, kind: EventKind, worker: int, detail: str = "") -> Event:
        return Event(kind, self.step, worker, self.file, detail)


CreateBallot = Callable[[int, int, Sequence[int], np.ndarray], Ballot]
"""Makes the ballot of (step, file, holders, row)."""


def is_finite(vector: np.ndarray) -> bool:
    """Whether a vector holds neither NaN nor infinity, without a temporary of its size."""
    return bool(np.isfinite(vector.min()) and np.isfinite(vector.max()))
