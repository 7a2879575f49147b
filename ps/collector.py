"""The middle of a step: files go to their holders, and one vote on each comes back."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from detox.assignment import Assignment
from detox.ps.ballots.ballot import CreateBallot
from detox.ps.events import Event, EventKind
from detox.ps.inbox import Inbox
from detox.ps.model import GlobalModel
from detox.ps.promises import Promises
from detox.ps.roster import Roster
from detox.ps.round import Round
from detox.ps.stopwatch import Stopwatch
from detox.ps.stragglers import Stragglers
from detox.tasks.samples import Files
from detox.wire import Codec, Header, Kind, Session, Work, digest_of


class Collector:
    """Sends the work of a step, waits for majorities, and fetches one copy of each.

    Args:
        session: the conversation with the workers' ranks.
        inbox: where what they send goes.
        ranks: rank of each worker.
        model: the weights; it computes files here, too.
        codec: how gradients travel, vectors of d + b entries.
        files: the samples of each step.
        create_ballot: makes the ballot of (step, file, holders, row).
        roster: tells whether so many votes are enough.
        promises: whom to ask for a gradient first, and how long each has.
        stragglers: who is not waited for.
        on_tie: whether a file without a vote is left out ("drop"), or computed here ("recompute").
        deadline: seconds that a step may take until it goes on with the votes that it has.
        tell: is given events.
        stopping: whether to wait no longer, for the training is told to end.
    """

    def __init__(
        self,
        session: Session,
        inbox: Inbox,
        ranks: Sequence[int],
        model: GlobalModel,
        codec: Codec,
        *,
        files: Files,
        create_ballot: CreateBallot,
        roster: Roster,
        promises: Promises,
        stragglers: Stragglers,
        on_tie: Literal["drop", "recompute"],
        deadline: float,
        tell: Callable[[Iterable[Event]], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._session = session
        self._inbox = inbox
        self._ranks = ranks
        self._model = model
        self._codec = codec
        self._files = files
        self._create_ballot = create_ballot
        self._roster = roster
        self._promises = promises
        self._stragglers = stragglers
        self._on_tie = on_tie
        self._deadline = deadline
        self._tell = tell
        self._stopping = stopping
        self._rows = np.empty((files.count, model.d + model.b), np.float32)

    def send_work(self, step: int, assignment: Assignment) -> Round:
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
        self._inbox.open(round_)
        return round_

    def recompute(self, round_: Round, file: int) -> None:
        """Computes a file here, which settles its vote, and convicts whoever claims otherwise."""
        samples = self._files.draw(round_.step, len(round_.ballots))[file]
        round_.decide(file, self._model.compute(samples, self._files.file_seed(round_.step, file)))

    def collect(self, round_: Round) -> np.ndarray:
        """The votes that there are when nothing more can come, or at the deadline: (m, d + b) float32."""

        def collected() -> bool:
            return self._stopping() or self._collected(round_)

        def fetch() -> bool:
            asked = round_.ask(self._session.clock(), self._inbox.gone, self._stragglers.workers)
            for worker, file in asked:
                header = Header(Kind.FETCH, round_.step, worker, file)
                self._session.ask(self._ranks[worker], header, Kind.GRADIENT)
            return bool(asked)

        deadline = self._session.clock() + self._deadline
        if not self._session.wait(collected, self._inbox.take, deadline=deadline, then=fetch):
            self._tell(Event(EventKind.MISSED, round_.step, worker) for worker in round_.unheard())
        self._inbox.note_deaths(round_.step)
        if self._on_tie == "recompute":
            for file in round_.undecided():
                if not self._stopping():
                    self.recompute(round_, file)
        votes, events = round_.end()
        self._tell(events)
        return votes

    def _collected(self, round_: Round) -> bool:
        """Whether to wait no longer; for workers that missed a deadline only if there are too few votes without."""
        gone, stragglers = self._inbox.gone, self._stragglers.workers
        if round_.finished(gone):
            return True
        votes = len(round_.ballots) - len(round_.undecided())
        return bool(stragglers) and round_.finished(gone | stragglers) and not self._roster.too_few(votes)
