"""The middle of a step: files go to their holders, and one vote on each comes back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from detox.assignment import Assignment, Edge
from detox.ps.audit import Audit
from detox.ps.ballots.ballot import CreateBallot
from detox.ps.broadcast import Broadcast
from detox.ps.events import Event, EventKind
from detox.ps.forensics import Forensics
from detox.ps.inbox import Inbox
from detox.ps.model import GlobalModel
from detox.ps.patience import Patience
from detox.ps.promises import Promises
from detox.ps.roster import Roster
from detox.ps.round import Round
from detox.ps.stopwatch import Stopwatch
from detox.ps.stragglers import Stragglers
from detox.tasks.devices import host_rows
from detox.tasks.samples import Files
from detox.wire import Codec, Header, Kind, Session, Work, digest_of


class Collector:
    """Sends the work of a step, waits for majorities, and fetches one copy of each.

    Args:
        session: the conversation with the workers' ranks.
        inbox: where what they send goes.
        broadcast: sends the weights.
        ranks: rank of each worker.
        model: the weights; it computes files here, too.
        codec: how gradients travel, vectors of d + b entries.
        files: the samples of each step.
        create_ballot: makes the ballot of (step, file, holders, row).
        roster: tells whether so many votes are enough.
        promises: whom to ask for a gradient first, and how long each has.
        forensics: whom to examine.
        on_tie: whether a file without a vote is left out ("drop"), or computed here ("recompute").
        patience: how long whose claims are waited for.
        stragglers: workers that have missed a deadline, and not answered enough since.
        tell: is given events.
        stopping: whether to wait no longer, for the training is told to end.
    """

    def __init__(
        self,
        session: Session,
        inbox: Inbox,
        broadcast: Broadcast,
        ranks: Sequence[int],
        model: GlobalModel,
        codec: Codec,
        *,
        files: Files,
        create_ballot: CreateBallot,
        roster: Roster,
        promises: Promises,
        forensics: Forensics,
        on_tie: Literal["drop", "recompute"],
        patience: Patience,
        stragglers: Stragglers,
        tell: Callable[[Iterable[Event]], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._session = session
        self._inbox = inbox
        self._broadcast = broadcast
        self._ranks = ranks
        self._model = model
        self._codec = codec
        self._files = files
        self._create_ballot = create_ballot
        self._roster = roster
        self._promises = promises
        self._forensics = forensics
        self._stragglers = stragglers
        self._on_tie = on_tie
        self._patience = patience
        self._tell = tell
        self._stopping = stopping
        self._rows = host_rows(files.count, model.own.d + model.own.b, model.device)
        self._ready: set[int] = set()  # ranks that have got the weights of the step
        self._asked: int | None = None  # the rank to which a question went behind all that it has taken
        self._samples = np.empty((0, 0), np.int64)  # of each of its files
        self._digest = b""  # of these weights

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
        self._hear()
        self._patience.begin(self._session.clock())
        self._samples = self._files.draw(step, len(assignment.holders))
        with round_.clock.part("transfer"):
            weights = self._model.own.weights
            self._digest = digest_of(weights)
            # A rank that has not yet taken the last weights would only fall further behind with these.
            self._ready = {rank for rank in set(self._ranks) if self._session.sending(rank) <= (rank == self._asked)}
            self._asked = None
            if self._model.servers is not None:
                self._ready -= self._model.servers.ask_behind()
                self._digest = self._model.servers.digest(self._digest)
            self._broadcast.send(step, self._ready, self._out, weights)
            self._ask(round_, assignment.edges)
        self._inbox.open(round_)
        return round_

    def _ask(self, round_: Round, edges: Iterable[Edge]) -> None:
        """Sends workers, on ranks that have the step's weights, the files that they are to compute."""
        packed, sent = dict[int, bytes](), list[Edge]()
        for worker, file in edges:
            if (rank := self._ranks[worker]) in self._ready:
                direct, seed = round_.ballots[file].direct, self._files.file_seed(round_.step, file)
                if file not in packed:
                    packed[file] = Work(self._digest, seed, not direct, self._samples[file]).pack()
                answer, messages = (Kind.GRADIENT, self._codec.chunks) if direct else (Kind.CLAIM, 1)
                work = Header(Kind.WORK, round_.step, worker, file)
                self._session.ask(rank, work, answer, packed[file], messages=messages)
                sent.append((worker, file))
        round_.claims.ask(sent, self._session.clock())

    def audit(self, round_: Round, audit: Audit) -> float:
        """Computes here the files that an audit wants, once the weights have left; returns the seconds that it took.

        Nothing is sent while the PS computes. For ranks that take no weights it does not wait, up to q of them.
        """
        files = audit.begin(round_.step, len(round_.ballots), round_.assignment.edges)
        if not files:
            return 0.0

        def sent() -> bool:
            return self._stopping() or sum(self._session.sending(rank) > 0 for rank in self._ready) <= self._roster.q

        limit = self._patience.deadline(round_.claims, self._promises.late)
        self._session.wait(sent, self._inbox.take, deadline=self._session.clock() + limit)
        began = self._session.clock()
        for call in self._calls(files):
            self.recompute(round_, call)
        return self._session.clock() - began

    def recompute(self, round_: Round, files: Sequence[int]) -> None:
        """Computes files here, which settles their votes, and convicts whoever claims otherwise."""
        work = [(self._samples[file], self._files.file_seed(round_.step, file)) for file in files]
        for file, vector in zip(files, self._model.compute_files(work), strict=True):
            round_.decide(file, vector)

    def _calls(self, files: Sequence[int]) -> Iterator[Sequence[int]]:
        """As many at a time as the model computes together."""
        size = self._model.files_at_once
        return (files[begin : begin + size] for begin in range(0, len(files), size))

    def collect(self, round_: Round) -> np.ndarray:
        """The votes that there are when nothing more can come, or at the deadline: (m, d + b) float32."""
        began, over = self._session.clock(), False

        def deadline() -> float:
            return began + self._patience.deadline(round_.claims, self._promises.late)

        def collected() -> bool:
            return self._stopping() or self._collected(round_)

        while not over:
            over = self._session.wait(
                collected, self._inbox.take, deadline=deadline(), then=lambda: self._go_on(round_)
            )
            if not over and self._session.clock() > deadline():  # which may have changed meanwhile
                over = True
                self._patience.miss(round_.claims)
                self._tell(Event(EventKind.MISSED, round_.step, worker) for worker in round_.ballots.unheard)
        self._inbox.note_deaths(round_.step)
        if self._on_tie == "recompute":
            for call in self._calls(round_.ballots.undecided):
                if not self._stopping():
                    self.recompute(round_, call)
        self._examine(round_)
        votes, events = round_.end()
        self._tell(events)
        return votes

    def _examine(self, round_: Round) -> None:
        """Examines a dissenter, if one is due; who has to be asked answers while the PS waits for the next step."""
        busy = {rank for rank in set(self._ranks) if self._session.sending(rank)}
        out = self._inbox.gone | {worker for worker, rank in enumerate(self._ranks) if rank in busy}
        chosen = None if self._stopping() else self._forensics.choose(round_, out)
        if chosen is None:
            return
        ballot, worker = chosen
        if (copy := ballot.copy_of(worker)) is not None:
            self._tell(round_.remember([self._forensics.compare(ballot, worker, copy)]))
        else:
            question = self._forensics.ask(ballot, worker)
            header = Header(Kind.EXAMINE, round_.step, worker, ballot.file)
            self._asked = self._ranks[worker]
            self._session.ask(self._asked, header, Kind.EVIDENCE, question)

    def _go_on(self, round_: Round) -> bool:
        """Calls further holders where those that were asked do not agree, and fetches what majorities claim."""
        now, gone, patience, servers = self._session.clock(), self._inbox.gone, self._patience, self._model.servers
        self._hear()
        if servers is not None:
            for server, edge in servers.confirmed(round_.step):
                round_.confirmed(server, edge, now)
            for server, edge, verdict, why in servers.reports(round_.step):
                self._tell(round_.delivered(server, edge, verdict, why, now))
        self._tell(patience.turn(round_.step, now, round_.waits(gone, self._absent), round_.claims))
        called = round_.ballots.call(patience.late | self._absent, gone)
        if called:
            self._ask(round_, called)
        stragglers = self._stragglers.workers | patience.given_up
        fetched = round_.ask(now, gone, stragglers, patience.given_up)
        for worker, file in fetched:
            question = Header(Kind.FETCH, round_.step, worker, file)
            self._session.ask(self._ranks[worker], question, Kind.GRADIENT, messages=self._codec.chunks)
        if servers is not None:
            servers.fetch(round_.step, round_.ask_elsewhere(now, gone, stragglers, patience.given_up))
        return bool(called or fetched)

    def _hear(self) -> None:
        """Learns from what has come, late claims too."""
        for round_ in self._inbox.rounds:
            self._tell(self._patience.hear(round_.step, round_.claims))

    def _collected(self, round_: Round) -> bool:
        """Whether to wait no longer; for those that are absent only if there are too few votes without."""
        gone, absent, patience = self._inbox.gone, self._absent, self._patience
        if round_.ballots.finished(gone):
            return True
        if not (absent or patience.late) or not round_.ballots.finished(
            gone | absent | patience.given_up, patience.late
        ):
            return False
        return not self._roster.too_few(len(round_.ballots) - len(round_.ballots.undecided))

    @property
    def weights_digest(self) -> bytes:
        """BLAKE3 of the weights that the newest step began with."""
        return self._digest

    @property
    def _out(self) -> frozenset[int]:
        """Ranks that are lost, or have a worker that is left out or late: they pass nothing on."""
        late = self._stragglers.workers | self._patience.behind
        takes_part = set(self._roster.workers) - late
        return self._session.dead | {rank for worker, rank in enumerate(self._ranks) if worker not in takes_part}

    @property
    def _absent(self) -> frozenset[int]:
        """Workers that have missed a deadline, or got no work, for their ranks have not taken the weights."""
        unreached = (worker for worker, rank in enumerate(self._ranks) if rank not in self._ready)
        return self._stragglers.workers.union(unreached)
