"""One step's votes as they come in: each message goes to the ballot that it is about."""

from collections.abc import Sequence, Set

import numpy as np

from detox.assignment import Assignment, Edge
from detox.ps.ballots import Ballots, DigestBallot, Verdict
from detox.ps.ballots.ballot import CreateBallot
from detox.ps.events import Event, EventKind
from detox.ps.pace import Times
from detox.ps.patience import Wait
from detox.ps.promises import Promises
from detox.ps.stopwatch import Stopwatch
from detox.wire import Chunks, Codec, Computed, Header, Kind, WireError

LATE_STEPS = 8
"""Steps that late claims still count for."""


class Round:
    """The ballots of one step (docs/protocol.md, step 3); it knows nothing of MPI.

    Args:
        step: the step.
        assignment: who holds which file.
        create_ballot: makes the ballot of a file.
        rows: (number of files or more, d + b) float32; row j receives the vote on file j.
        codec: how gradients travel.
        promises: whom to ask for a gradient first, and how long each has.
        clock: keeps the seconds by part.

    Attributes:
        ballots: one per file, in their order.
        events: all that there was to say of workers so far.
        claims: when work was asked for, and when claims, or gradients without one, came.
    """

    def __init__(
        self,
        step: int,
        assignment: Assignment,
        *,
        create_ballot: CreateBallot,
        rows: np.ndarray,
        codec: Codec,
        promises: Promises,
        clock: Stopwatch,
    ) -> None:
        self.step = step
        self.assignment = assignment
        self.clock = clock
        self.ballots = Ballots(
            create_ballot(step, file, holders, rows[file]) for file, holders in enumerate(assignment.holders)
        )
        for ballot, first in zip(self.ballots, assignment.first, strict=False):
            ballot.defer(first)
        self.events: list[Event] = []
        self.claims = Times()
        self._rows: np.ndarray | None = rows
        self._codec = codec
        self._promises = promises
        self._deliveries = promises.begin()
        self._chunks: dict[Edge, Chunks] = {}
        self._computed: set[Edge] = set()

    def take(self, header: Header, payload: memoryview, now: float) -> list[Event]:
        """Takes a CLAIM or a GRADIENT of this step; what is wrong with it comes out as events.

        Args:
            header, payload: the message, of a worker in whose name its rank may speak.
            now: seconds on a monotonic clock.
        """
        edge = header.worker, header.file
        events = self._route(header, payload, now)
        if edge in self.claims.since and edge[0] in self.ballots[edge[1]].tally.claims:
            self.claims.answer(edge, now)
        if header.kind == Kind.CLAIM and self.ballots.agreed:
            self.clock.agree()
        return self.remember(events)

    def computed(self, header: Header, payload: memoryview) -> list[Event]:
        """Takes COMPUTED of this step, which comes once for each file that a worker was asked for."""
        edge = header.worker, header.file
        try:
            if edge not in self.claims.since or edge in self._computed:
                raise WireError("COMPUTED was not asked for")
            self._computed.add(edge)
            spent = Computed.unpack(payload)
            self.clock.computed(spent.seconds, spent.since)
        except WireError as error:
            return [Event(EventKind.MALFORMED, self.step, header.worker, None, str(error))]
        return []

    def answered(self, header: Header) -> bool:
        """Whether the claim or the gradient that a message which was taken is of is here, all of it."""
        chunks = self._chunks.get((header.worker, header.file))
        return header.kind == Kind.CLAIM or (chunks is not None and chunks.whole and not chunks.garbled)

    def remember(self, events: list[Event]) -> list[Event]:
        """Adds to what there is to say of this step's workers."""
        self.events += events
        return events

    def ask(
        self,
        now: float,
        gone: Set[int] = frozenset(),
        stragglers: Set[int] = frozenset(),
        given_up: Set[int] = frozenset(),
    ) -> list[Edge]:
        """The (worker, file) to send FETCH to now: one of each majority, the next where one did not deliver.

        Args:
            now: seconds on a monotonic clock.
            gone: workers out of reach.
            stragglers: workers whose claims are not waited for.
            given_up: workers that are waited for no longer at all.
        """
        asked = []
        for ballot in self.ballots:
            worker = ballot.ask(now, self._promises, gone, stragglers, given_up)
            if worker is not None:
                asked.append((worker, ballot.file))
        self._deliveries.ask(asked, now)
        return asked

    def ask_elsewhere(
        self, now: float, gone: Set[int], stragglers: Set[int], given_up: Set[int]
    ) -> list[tuple[Edge, int, bytes]]:
        """The (worker, file) whose share a further server is to fetch now, the server, and the digest of that share.

        See `ask`, after which it is called.
        """
        return [
            ((worker, ballot.file), server, ballot.claimed(server))
            for ballot in self.ballots
            if isinstance(ballot, DigestBallot)
            for worker, server in ballot.ask_elsewhere(now, self._promises, gone, stragglers, given_up)
        ]

    def confirmed(self, server: int, edge: Edge, now: float) -> None:
        """A further server has passed that on, so that the worker has time from now on."""
        ballot = self.ballots[edge[1]]
        assert isinstance(ballot, DigestBallot)
        ballot.confirmed(server, edge[0], now)
        if edge not in self._deliveries.since:
            self._deliveries.ask([edge], now)

    def delivered(self, server: int, edge: Edge, verdict: Verdict, why: str, now: float) -> list[Event]:
        """Takes what a further server found the share to be that it fetched for this step; see DigestBallot."""
        worker, ballot = edge[0], self.ballots[edge[1]]
        assert isinstance(ballot, DigestBallot)
        if self._rows is None:
            return []
        if verdict not in (Verdict.GARBLED, Verdict.UNREAD):
            self._deliveries.answer(edge, now)
            self._promises.delivered(worker, now - ballot.since(server, worker))
        return self.remember(ballot.delivered(server, worker, verdict, why))

    def waits(self, gone: Set[int], absent: Set[int] = frozenset()) -> list[Wait]:
        """The answers that keep the round from being finished, of those that were asked for.

        Args:
            gone: workers out of reach.
            absent: workers whose claims are not waited for.
        """
        since = self.claims.since
        claims = [
            Wait(worker, since[worker, ballot.file], ballot.needs_all)
            for ballot in self.ballots
            for worker in ballot.missing(gone | absent)
            if (worker, ballot.file) in since
        ]
        if 2 * len(self.ballots.undecided) >= len(self.ballots):
            return claims  # a gradient is late where most files have theirs, not where the links are slow for all
        gradients = [
            Wait(worker, asked, True, self._promises.overdue)
            for ballot in self.ballots
            for worker, asked in ballot.owing(gone).items()
        ]
        return claims + gradients

    def decide(self, file: int, vector: np.ndarray) -> None:
        """Settles a vote by the PS's own computation, which convicts whoever claims, or has claimed, otherwise."""
        self.ballots[file].decide(self._codec.quantise(vector))

    def end(self) -> tuple[np.ndarray, list[Event]]:
        """Ends the collection: (m, d + b), the votes on the m files that have one, and what there is to say.

        The votes are a view of `rows`, in which the rows of files without a vote have been closed up. Claims that come
        after this still count.
        """
        assert self._rows is not None
        rows, self._rows = self._rows, None
        answered: list[set[int]] = [set() for _ in self.ballots]
        for (worker, file), chunks in self._chunks.items():
            if chunks.whole:
                answered[file].add(worker)
        events = [event for ballot, whole in zip(self.ballots, answered, strict=True) for event in ballot.end(whole)]
        return closed_up(rows, self.ballots.kept), self.remember(events)

    def close(self) -> list[Event]:
        """What the votes say of each worker."""
        return self.remember(self.ballots.verdicts)

    def _route(self, header: Header, payload: memoryview, now: float) -> list[Event]:
        worker, file = header.worker, header.file
        if file >= len(self.ballots) or worker not in self.ballots[file].tally.holders:
            return [Event(EventKind.MALFORMED, self.step, worker, None, f"file {file} is not this worker's")]
        ballot = self.ballots[file]
        if not ballot.expects(worker, header.kind == Kind.CLAIM):
            return [Event(EventKind.MALFORMED, self.step, worker, file, f"{header.kind.name} was not asked for")]
        if header.kind == Kind.CLAIM:
            return ballot.claim(worker, bytes(payload))
        chunks = self._chunks.setdefault((worker, file), Chunks(self._codec))
        try:
            chunks.note(header.chunk)
        except WireError as error:
            return [Event(EventKind.MALFORMED, self.step, worker, file, str(error))]
        if self._rows is None:
            if not chunks.whole:
                return []
            if ballot.direct:
                self.claims.answer((worker, file), now)
            elif not any(e.kind == EventKind.WITHHELD and (e.worker, e.file) == (worker, file) for e in self.events):
                return []  # it was asked beside another, who has delivered
            return [Event(EventKind.LATE, self.step, worker, file, "its gradient came after the step")]
        place = None if chunks.garbled else ballot.place(worker)
        if place is None:
            return []
        try:
            with self.clock.part("transfer"):
                chunks.decode(header.chunk, payload, place)
        except WireError as error:
            return ballot.garbled(worker, str(error))
        if not chunks.whole:
            return []
        if (worker, file) in self._deliveries.since:
            self._deliveries.answer((worker, file), now)
            self._promises.delivered(worker, now - self._deliveries.since[worker, file])
        with self.clock.part("vote"):
            return ballot.deliver(worker, place)


def closed_up(rows: np.ndarray, kept: Sequence[int]) -> np.ndarray:
    """The rows of these files, which ascend, moved to the first places; a view."""
    for row, file in enumerate(kept):
        if row != file:
            rows[row] = rows[file]
    return rows[: len(kept)]
