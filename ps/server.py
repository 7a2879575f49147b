"""The parameter server's loop: DETOX, Algorithm 1, over messages."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from detox.assignment import Assignment, Scheme
from detox.errors import JobError
from detox.ps.aggregation import Aggregation
from detox.ps.ballots.ballot import CreateBallot
from detox.ps.events import Event, EventKind
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.promises import Promises
from detox.ps.quarantine import Quarantine
from detox.ps.round import LATE_STEPS, Round
from detox.ps.stopwatch import Stopwatch
from detox.ps.stragglers import Stragglers
from detox.tasks import TaskError
from detox.tasks.samples import Files
from detox.wire import BYE_LIMIT, DIGEST_BYTES, Codec, Header, Kind, Message, Session, Work, digest_of, printable

_MOMENT = 5.0  # seconds, at most, for the workers that are still busy with the last step


class ServerError(JobError):
    """Training cannot go on; the message says why."""


@dataclass(frozen=True)
class StepRecord:
    """What a step did.

    Attributes:
        step: its number, from 1.
        skipped: why no update was made; empty where one was.
        seconds: by part, see stopwatch.PARTS.
        bytes_in: bytes into the PS, headers included.
        quarantined: a sentence for each worker that was put into quarantine before the step.
    """

    step: int
    skipped: str
    seconds: dict[str, float]
    bytes_in: int
    quarantined: tuple[str, ...] = ()


class Server:
    """Trains a model with workers that may send anything, or nothing.

    Args:
        session: the conversation with the workers' ranks, which are ready.
        ranks: rank of each worker; p of them.
        model: the weights and their optimizer; d parameters and b buffers.
        codec: how gradients travel, vectors of d + b entries.
        files: the samples of each step, and how many files it has at most.
        scheme: who computes which file.
        create_ballot: makes the ballot of (step, file, holders, row); see ps.ballots.VOTES.
        aggregation: turns votes, (m, d + b) float32, into an update, (d,).
        ledger: where events go; the promises that workers broke before are in it.
        quarantine: who is left out of the assignment, and whose file the PS computes itself.
        q: Byzantine workers to tolerate, of all p.
        on_tie: whether a file without a vote is left out ("drop"), or computed by the PS ("recompute").
        deadline: seconds that a step may take until it goes on with the votes that it has.
        fetch_deadline: seconds that a worker has to deliver a gradient, until another is asked too.

    Attributes:
        outcomes: how the holders of each file voted, counted over the steps that are closed.
        ledger, quarantine, aggregation: as given.
        stopping: whether the training has been told to end.
    """

    def __init__(
        self,
        session: Session,
        ranks: Sequence[int],
        model: GlobalModel,
        codec: Codec,
        *,
        files: Files,
        scheme: Scheme,
        create_ballot: CreateBallot,
        aggregation: Aggregation,
        ledger: Ledger,
        quarantine: Quarantine,
        q: int,
        on_tie: Literal["drop", "recompute"],
        deadline: float,
        fetch_deadline: float,
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self.ledger = ledger
        self.quarantine = quarantine
        self.stopping = False
        self._session = session
        self._ranks = ranks
        self._model = model
        self._codec = codec
        self._files = files
        self._scheme = scheme
        self._create_ballot = create_ballot
        self.aggregation = aggregation
        self._q = q
        self._on_tie = on_tie
        self._deadline = deadline
        self._rows = np.empty((files.count, model.d + model.b), np.float32)
        self._open: deque[Round] = deque()
        self._dead: frozenset[int] = frozenset()
        self._stragglers = Stragglers()
        self._late = Stragglers()
        self._promises = Promises(ledger, fetch_deadline)
        self._last_words: dict[int, str] = {}  # of ranks
        self._given_up = -1  # a step, whose claims count for nothing

    def train(self, first: int, last: int) -> Iterator[StepRecord]:
        """Algorithm 1: makes steps first..last, counted from 1, and yields after each; fewer if told to stop.

        Args:
            first, last: steps; earlier ones have been made, or restored.

        Raises:
            ServerError: no rank with workers is left.
            TaskError: none is, and each has said that it dies of the task's code.
        """
        limits = {Kind.CLAIM: DIGEST_BYTES, Kind.GRADIENT: self._codec.limit, Kind.BYE: BYE_LIMIT}
        self._session.expect(limits, asked=[Kind.GRADIENT])
        for step in range(first, last + 1):
            if self.stopping:
                break
            if self._session.dead >= set(self._ranks):
                raise self._lost(step)
            self._close(keep=LATE_STEPS - 1)
            before = self.ledger.state(), self.quarantine.state()
            quarantined = self._judge(step)
            round_ = self._send_work(step, self.assignment(step))
            received = self._session.bytes_received
            self._check_suspect(round_)
            votes = self._collect(round_)
            if self.stopping:
                # The step is made again after a restart: as if it had never begun.
                self._given_up = self._open.pop().step
                self.ledger.restore(before[0])
                self.quarantine.restore(before[1])
                break
            skipped = self._update(step, votes, round_)
            bytes_in = self._session.bytes_received - received
            yield StepRecord(step, skipped, round_.clock.read(), bytes_in, quarantined)
        self.settle_accounts()

    def stop(self) -> None:
        """Ends the training before the next update; the step under way is given up."""
        self.stopping = True

    @property
    def workers(self) -> list[int]:
        """Workers that are not in quarantine."""
        return [worker for worker in range(len(self._ranks)) if worker not in self.quarantine.out]

    @property
    def byzantine_left(self) -> int:
        """q, less those in quarantine if that takes a proof: dissents alone may have put the honest there."""
        return max(0, self._q - self.quarantine.proven)

    def assignment(self, step: int) -> Assignment:
        """Who computes which file in a step."""
        return self._scheme.draw(step, self.workers)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs, between two steps."""
        return {
            "model": self._model.state(),
            "ledger": self.ledger.state(),
            "quarantine": self.quarantine.state(),
            "outcomes": dict(self.outcomes),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._model.restore(state["model"])
        self.ledger.restore(state["ledger"])
        self.quarantine.restore(state["quarantine"])
        self.outcomes.update(state["outcomes"])

    def _lost(self, step: int) -> ServerError | TaskError:
        """The error that no rank with workers is left."""
        said = f"all ranks with workers are lost, before step {step}"
        if not self._last_words.keys() >= set(self._ranks):
            return ServerError(said)
        rank, why = min(self._last_words.items())
        return TaskError(f"{said}; rank {rank}: {why}")

    def _judge(self, step: int) -> tuple[str, ...]:
        """Puts into quarantine who is due, as long as enough workers are left for the aggregation; says whom."""
        said = []
        for worker in self.quarantine.due(step):
            self.quarantine.leave_out(worker, step)
            left, files, q = len(self.workers), len(self.assignment(step).holders), self.byzantine_left
            if left >= self.quarantine.minimum and not self.aggregation.too_few(files, q):
                f = self.aggregation.bad_votes(files, q)
                detail = f"{left} workers are left in {files} groups; now q = {q} and f = {f}"
                self._record([Event(EventKind.QUARANTINED, step, worker, detail=detail)])
                said.append(f"worker {worker} on {self.ledger.host_of[worker]} is in quarantine from now on: {detail}")
            else:
                self.quarantine.spare(worker)
                if not self.ledger.counts[worker][EventKind.SPARED]:
                    detail = f"without it only {left} workers would be left"
                    self._record([Event(EventKind.SPARED, step, worker, detail=detail)])
        return tuple(said)

    def _send_work(self, step: int, assignment: Assignment) -> Round:
        """Sends each rank the weights, and each of its workers the files that it holds."""
        round_ = Round(
            step,
            assignment,
            create_ballot=self._create_ballot,
            rows=self._rows,
            codec=self._codec,
            promises=self._promises,
            clock=Stopwatch(self._session.clock),
        )
        samples = self._files.draw(step, len(assignment.holders))
        with round_.clock.part("transfer"):
            weights = self._model.weights
            digest = digest_of(weights)
            # A rank that has not yet taken the last weights would only fall further behind with these.
            ready = {rank for rank in set(self._ranks) if not self._session.sending(rank)}
            self._session.send(sorted(ready), Header(Kind.WEIGHTS, step), weights.data.cast("B"))
            for ballot in round_.ballots:
                file, answer = ballot.file, Kind.GRADIENT if ballot.direct else Kind.CLAIM
                work = Work(digest, self._files.file_seed(step, file), not ballot.direct, samples[file]).pack()
                for worker in assignment.holders[file]:
                    if (rank := self._ranks[worker]) in ready:
                        self._session.ask(rank, Header(Kind.WORK, step, worker, file), answer, work)
        self._open.append(round_)
        return round_

    def _check_suspect(self, round_: Round) -> None:
        """Computes a file of a suspect here, while the workers compute it too."""
        edge = self.quarantine.suspect(round_.step, round_.assignment.edges)
        if edge is not None:
            worker, file = edge
            self.quarantine.checked(worker, round_.step)
            self._recompute(round_, file)

    def _recompute(self, round_: Round, file: int) -> None:
        samples = self._files.draw(round_.step, len(round_.ballots))[file]
        round_.decide(file, self._model.compute(samples, self._files.file_seed(round_.step, file)))

    def _collect(self, round_: Round) -> np.ndarray:
        """Waits for majorities, fetches one copy of each; (m, d + b), the votes there are at the deadline."""

        def collected() -> bool:
            return self.stopping or self._collected(round_)

        def fetch() -> bool:
            asked = round_.ask(self._session.clock(), self._gone, self._stragglers.workers)
            for worker, file in asked:
                header = Header(Kind.FETCH, round_.step, worker, file)
                self._session.ask(self._ranks[worker], header, Kind.GRADIENT)
            return bool(asked)

        deadline = self._session.clock() + self._deadline
        if not self._session.wait(collected, self._take, deadline=deadline, then=fetch):
            self._stragglers.missed(round_.step, round_.unheard())
        self._note_deaths(round_.step)
        if self._on_tie == "recompute":
            for file in round_.undecided():
                if not self.stopping:
                    self._recompute(round_, file)
        votes, events = round_.end()
        self._record(events)
        return votes

    def _collected(self, round_: Round) -> bool:
        """Whether to wait no longer; for workers that missed a deadline only if there are too few votes without."""
        gone, stragglers = self._gone, self._stragglers.workers
        if round_.finished(gone):
            return True
        votes = len(round_.ballots) - len(round_.undecided())
        return bool(stragglers) and round_.finished(gone | stragglers) and not self._too_few(votes)

    def _update(self, step: int, votes: np.ndarray, round_: Round) -> str:
        """Aggregates the votes and makes the optimizer's step; returns why not, where it cannot."""
        if why := self._too_few(len(votes)):
            return f"{len(votes)} of {len(round_.ballots)} groups have a vote: {why}"
        f = self.aggregation.bad_votes(len(votes), self.byzantine_left)
        with round_.clock.part("aggregate"):
            update, buffers = self.aggregation.aggregate(step, votes, self.byzantine_left, self._model)
        with round_.clock.part("update"):
            without = self._model.without_gradient(votes, f)
            self._model.apply(update, buffers, without, remember=self.aggregation.uses_previous)
        return ""

    def _too_few(self, votes: int) -> str:
        return self.aggregation.too_few(votes, self.byzantine_left)

    def _take(self, message: Message) -> None:
        """Hands a message to the round that it belongs to."""
        rounds = {round_.step: round_ for round_ in self._open}
        newest, header = self._open[-1].step, message.header
        if header is None:
            self._record([_from_rank(newest, message.source, message.fault)])
        elif header.kind == Kind.BYE and message.payload and message.source not in self._last_words:
            self._last_words[message.source] = printable(bytes(message.payload).decode(errors="replace"))
        elif header.kind not in (Kind.CLAIM, Kind.GRADIENT):
            self._record([_from_rank(newest, message.source, f"{header.kind.name} has no place here")])
        elif header.worker >= len(self._ranks) or self._ranks[header.worker] != message.source:
            detail = f"spoke for worker {header.worker}, which is not on this rank"
            self._record([_from_rank(newest, message.source, detail)])
        elif header.step in rounds:
            self._stragglers.answered(header.worker, header.step)
            self._late.answered(header.worker, header.step)
            self._record(rounds[header.step].take(header, message.payload, self._session.clock()))
        elif header.step == self._given_up:
            pass
        elif header.step < newest:
            detail = f"{header.kind.name} for step {header.step}"
            self._record([Event(EventKind.LATE, newest, header.worker, detail=detail)])
        else:
            detail = f"{header.kind.name} for step {header.step}, which has not begun"
            self._record([Event(EventKind.MALFORMED, newest, header.worker, detail=detail)])

    @property
    def _gone(self) -> frozenset[int]:
        """Workers on ranks that have died."""
        dead = self._session.dead
        return frozenset(worker for worker, rank in enumerate(self._ranks) if rank in dead) if dead else frozenset()

    def _note_deaths(self, step: int) -> None:
        gone = self._gone
        for worker in sorted(gone - self._dead):
            self._record([Event(EventKind.DEAD, step, worker, detail=f"rank {self._ranks[worker]} is lost")])
        self._dead = gone

    def _record(self, events: Sequence[Event]) -> None:
        for event in events:
            self.ledger.record(event)

    def _close(self, keep: int) -> None:
        """Closes all but the newest rounds: what comes for them from now on is late."""
        while len(self._open) > keep:
            round_ = self._open.popleft()
            self._record(round_.close())
            self.outcomes.update(outcome.value for outcome in round_.outcomes())
            self.quarantine.observe(round_.step, round_.events)
            if self._open:
                # What stragglers were asked for in the newest step may still come, and is then late, not uncalled for.
                self._session.forget(round_.step)

    def settle_accounts(self) -> None:
        """Gives the workers that are still busy with the last step a moment, and closes all rounds."""
        if not self._open:
            return
        silent = self._open[-2].unheard() if len(self._open) > 1 else frozenset()
        silent |= self._stragglers.workers
        newest = self._open[-1]
        deadline = self._session.clock() + min(self._deadline, _MOMENT)

        def heard() -> bool:
            return newest.unheard() <= self._gone | silent | self._late.workers

        if not self._session.wait(heard, self._take, deadline=deadline):
            self._late.missed(newest.step, newest.unheard())
        self._note_deaths(newest.step)
        self._close(keep=0)


def _from_rank(step: int, rank: int, detail: str) -> Event:
    """A message that cannot be pinned on one worker of the rank that sent it."""
    return Event(EventKind.MALFORMED, step, None, detail=detail, rank=rank)
