"""What a dissenter has computed in place of the vote: asked for when the vote is settled, checked, and diagnosed."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from detox.ps.ballots.ballot import Ballot
from detox.ps.diagnosis import Diagnosis, diagnose
from detox.ps.events import Event, EventKind
from detox.ps.round import LATE_STEPS, Round
from detox.wire import Header, WireError
from detox.wire.evidence import PIECE, Evidence, Question, differing, entries_of, piece, piece_digests, pieces_of


@dataclass(frozen=True)
class _Inquiry:
    """One that is under way.

    Attributes:
        step, worker, file: of the claim.
        claim: what it claimed.
        vote: (size,) float32, a copy, for the row is the next step's before the answer comes.
        question: that it was asked.
        against: whose result the vote is, in words.
    """

    step: int
    worker: int
    file: int
    claim: object
    vote: np.ndarray
    question: Question
    against: str


class Forensics:
    """Examines dissenters, one at a time, each once in so many steps; knows neither MPI nor a clock.

    It asks for the pieces of the claimed vector that differ from the vote, and for the digests of all its pieces, which
    make the claim: so what is shown is what was claimed, whoever shows it, and bounded in bytes. Nothing waits for the
    answer. Where the vector is here, nothing is asked, and the same pieces are examined, not more.

    Args:
        size: entries of a vector.
        tensors: name and entries of each tensor in a vector, in order.
        every: steps until the same worker is examined again; 0: nobody is.
        limit: bytes of entries that are examined at most, and that one answer may have; one piece at the least.
    """

    def __init__(self, size: int, tensors: Sequence[tuple[str, int]], *, every: int, limit: int) -> None:
        self._size = size
        self._tensors = tuple(tensors)
        self._every = every
        self._most = max(1, limit // (4 * PIECE))
        self._examined: dict[int, int] = {}  # when, by worker
        self._open: _Inquiry | None = None

    @property
    def answer_limit(self) -> int:
        """The most bytes that an answer has."""
        return Evidence.limit(self._size, self._most)

    def state(self) -> dict[str, Any]:
        """Who was examined when, for a checkpoint."""
        return {"examined": dict(self._examined)}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._examined = dict(state["examined"])

    def choose(self, round_: Round, gone: Set[int]) -> tuple[Ballot, int] | None:
        """A dissenter that is to be examined now, and the ballot: of those that are due the one examined longest ago.

        It has claimed a digest, or the ballot has its copy.

        Args:
            round_: whose collection is about to end.
            gone: workers out of reach.
        """
        if self._open is not None and round_.step - self._open.step < LATE_STEPS and self._open.worker not in gone:
            return None
        due = [
            (self._examined.get(worker, -1), worker, ballot)
            for ballot in (round_.ballots if self._every else ())
            for worker in ballot.dissenters()
            if worker not in gone
            and _has_claimed(ballot, worker)
            and round_.step - self._examined.get(worker, -self._every) >= self._every
        ]
        if not due:
            return None
        _, worker, ballot = min(due, key=lambda item: item[:2])
        return ballot, worker

    def compare(self, ballot: Ballot, worker: int, copy: np.ndarray) -> Event:
        """Examines a dissenter whose vector is here, (size,) float32."""
        self._examined[worker] = ballot.step
        vote = ballot.vote
        pieces = [i for i in range(pieces_of(self._size)) if not _equal(piece(vote, i), piece(copy, i))]
        parts = ((i * PIECE, piece(vote, i), piece(copy, i)) for i in pieces[: self._most])
        found = diagnose(parts, self._tensors, entries_of(pieces, self._size))
        return _event(ballot.step, worker, ballot.file, _against(ballot), found)

    def ask(self, ballot: Ballot, worker: int) -> bytes:
        """The question to a dissenter that has claimed no more than a digest: the payload of EXAMINE."""
        self._examined[worker] = ballot.step
        vote, claim = ballot.vote.copy(), ballot.tally.claims[worker]
        question = Question(self._most, tuple(piece_digests(vote)))
        self._open = _Inquiry(ballot.step, worker, ballot.file, claim, vote, question, _against(ballot))
        return question.pack()

    def take(self, header: Header, payload: memoryview) -> list[Event]:
        """Takes an EVIDENCE, of a worker in whose name its rank may speak."""
        inquiry, edge = self._open, (header.step, header.worker, header.file)
        if inquiry is None or edge != (inquiry.step, inquiry.worker, inquiry.file):
            return [Event(EventKind.MALFORMED, *edge, "EVIDENCE was not asked for")]
        self._open = None
        try:
            evidence = Evidence.unpack(payload, self._size)
        except WireError as error:
            return [Event(EventKind.MALFORMED, *edge, str(error))]
        assert isinstance(inquiry.claim, bytes)
        try:
            shown = evidence.checked(inquiry.claim, inquiry.question, self._size)
        except WireError as error:
            return [Event(EventKind.LIED, *edge, f"asked how its claim differs: {error}")]
        parts = ((begin, inquiry.vote[begin : begin + wrong.size], wrong) for begin, wrong in shown)
        pieces = differing(evidence.digests, inquiry.question.digests)
        found = diagnose(parts, self._tensors, entries_of(pieces, self._size))
        return [_event(*edge, inquiry.against, found)]


def _has_claimed(ballot: Ballot, worker: int) -> bool:
    """Whether there is something to examine: not of one whose copy could not be decoded."""
    return not ballot.direct or ballot.copy_of(worker) is not None


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one.view(np.uint32), other.view(np.uint32))


def _against(ballot: Ballot) -> str:
    return "the vote" if ballot.tally.truth is None else "what the PS computed"


def _event(step: int, worker: int, file: int, against: str, found: Diagnosis) -> Event:
    return Event(EventKind.EXAMINED, step, worker, file, f"what it claimed, beside {against}", diagnosis=found)
