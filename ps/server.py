"""The parameter server's loop: DETOX, Algorithm 1, over messages."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from detox.assignment import Scheme
from detox.ps.aggregation import Aggregation
from detox.ps.attendance import Attendance, Everyone
from detox.ps.audit import Audit
from detox.ps.ballots.ballot import CreateBallot
from detox.ps.broadcast import Broadcast
from detox.ps.chain import Chain
from detox.ps.collector import Collector
from detox.ps.events import Event, EventKind
from detox.ps.forensics import Forensics
from detox.ps.inbox import Inbox
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.patience import Auto, Patience
from detox.ps.promises import Promises
from detox.ps.quarantine import Quarantine
from detox.ps.records import Records
from detox.ps.relays import Relays
from detox.ps.roster import Roster
from detox.ps.round import LATE_STEPS, Round
from detox.ps.step import ServerError, StepRecord
from detox.ps.trust import Trust
from detox.tasks.samples import Files
from detox.wire import BYE_LIMIT, DIGEST_BYTES, Codec, Computed, Kind, Session

_MOMENT = 5.0  # seconds, at most, for the workers that are still busy with the last step


class Server:
    """Trains a model with workers that may send anything, or nothing.

    Args:
        session: the conversation with the workers' ranks, which are ready.
        ranks: rank of each worker; p of them.
        model: the weights and their optimizer; d parameters and b buffers.
        codec: how gradients travel, vectors of d + b entries; with further servers, of the PS's share of them.
        files: the samples of each step, and how many files it has at most.
        scheme: who computes which file.
        create_ballot: makes the ballot of (step, file, holders, row); see ps.ballots.VOTES.
        aggregation: turns votes, (m, d + b) float32, into an update, (d,).
        ledger: where events go; the promises that workers broke before are in it.
        quarantine: who is left out.
        forensics: whom to examine for what it claimed; None: nobody.
        chain: records what steps are made of; None: nothing does.
        audit: which files the PS computes itself while the workers compute them; None: one of a suspect, if any.
        trust: who is checked how often, where that depends on what was found; the scheme asks it.
        attendance: which workers are there; None: all, for good.
        relays: which ranks pass on slices of the weights; None: each rank gets them whole.
        q: Byzantine workers to tolerate, of all p.
        on_tie: whether a file without a vote is left out ("drop"), or computed by the PS ("recompute").
        deadline: seconds that a step may take until it goes on with the votes that it has; "auto": see Patience.
        fetch_deadline: seconds that a worker has to deliver a gradient, until another is asked too; "auto": see
            Promises.

    Attributes:
        outcomes: how the holders of each file voted, counted over the steps that are closed.
        ledger, quarantine, aggregation, chain: as given.
        roster: who takes part.
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
        deadline: float | Auto = "auto",
        fetch_deadline: float | Auto = "auto",
        audit: Audit | None = None,
        trust: Trust | None = None,
        forensics: Forensics | None = None,
        chain: Chain | None = None,
        attendance: Attendance | None = None,
        relays: Relays | None = None,
    ) -> None:
        forensics = forensics or Forensics(model.d + model.b, (), every=0, limit=0)
        patience = Patience(len(ranks), deadline)
        promises = Promises(ledger, fetch_deadline, patience.pace)
        self._audit = audit or Audit(0, 0, quarantine)
        self._records = Records(
            ranks,
            ledger,
            quarantine,
            trust or Trust(len(ranks), LATE_STEPS),
            audit=self._audit,
            patience=patience,
            promises=promises,
            forensics=forensics,
        )
        self.outcomes = self._records.outcomes
        self.ledger = ledger
        self.quarantine = quarantine
        self.aggregation = aggregation
        self._attendance = attendance or Everyone()
        self.roster = Roster(
            len(ranks),
            q,
            scheme=scheme,
            aggregation=aggregation,
            quarantine=quarantine,
            ledger=ledger,
            attendance=self._attendance,
        )
        self.stopping = False
        self.chain = chain
        self._session = session
        self._ranks = ranks
        self._model = model
        self._moment = _MOMENT if deadline == "auto" else min(deadline, _MOMENT)
        broadcast = Broadcast(session, ranks, relays, model.d + model.b, model.servers)
        self._answers = {
            **broadcast.limits,
            Kind.CLAIM: DIGEST_BYTES if model.servers is None else DIGEST_BYTES * len(model.servers.shares),
            Kind.COMPUTED: Computed.BYTES,
            Kind.GRADIENT: codec.limit,
            Kind.EVIDENCE: forensics.answer_limit,
            Kind.BYE: BYE_LIMIT,
        }
        self._asked = [Kind.GRADIENT, Kind.EVIDENCE]
        if model.servers is not None:
            self._answers |= model.servers.limits
            self._asked += model.servers.limits
        self._inbox = Inbox(session, ranks, self._records.tell, forensics, broadcast, model.servers)
        if model.servers is not None:
            model.servers.others = self._inbox.take
        self._collector = Collector(
            session,
            self._inbox,
            broadcast,
            ranks,
            model,
            codec,
            files=files,
            create_ballot=create_ballot,
            roster=self.roster,
            promises=promises,
            forensics=forensics,
            on_tie=on_tie,
            patience=patience,
            stragglers=self._records.stragglers,
            tell=self._records.tell,
            stopping=lambda: self.stopping,
        )

    def train(self, first: int, last: int) -> Iterator[StepRecord]:
        """Algorithm 1: makes steps first..last, counted from 1, and yields after each; fewer if told to stop.

        Args:
            first, last: steps; earlier ones have been made, or restored.

        Raises:
            ServerError: too few workers are left; or more than q are Byzantine, and quarantine.fail_closed is set.
            TaskError: none is, and each has said that it dies of the task's code.
        """
        self._session.expect(self._answers, asked=self._asked)
        for step in range(first, last + 1):
            if not self.stopping:
                self._inbox.await_workers(step, self._attendance, lambda: self.stopping)
            if self.stopping:
                break
            self._close(keep=LATE_STEPS - 1)
            before = self._records.state()
            self._records.tell(moves := self.roster.follow(step))
            exceeded = self._judge(step)
            strength = self.roster.strength(step) if moves else ""
            round_ = self._collector.send_work(step, self.roster.assignment(step))
            received = self._session.bytes_received
            own = self._collector.audit(round_, self._audit)
            votes = self._collector.collect(round_)
            if self.stopping:
                # The step is made again after a restart: as if it had never begun.
                self._inbox.give_up()
                self._records.restore(before)
                break
            self._audit.learn(own, round_.clock.read()["wait"])
            skipped = self._update(step, votes, round_)
            bytes_in = self._session.bytes_received - received
            news = self._records.news(exceeded, strength)
            clock = round_.clock
            yield StepRecord(
                step, skipped, clock.read(), bytes_in, round_.ballots.copies, clock.waits(), clock.computing(), news
            )
        self.settle_accounts()

    def stop(self) -> None:
        """Ends the training before the next update; the step under way is given up."""
        self.stopping = True

    def settle_accounts(self) -> None:
        """Gives the workers that are still busy with the last step a moment, and closes all rounds."""
        if not self._inbox.rounds:
            return
        *earlier, newest = self._inbox.rounds
        silent = self._records.stragglers.workers | (earlier[-1].ballots.unheard if earlier else frozenset())
        deadline = self._session.clock() + self._moment

        def heard() -> bool:
            return newest.ballots.unheard <= self._inbox.gone | silent | self._records.dawdlers.workers

        if not self._session.wait(heard, self._inbox.take, deadline=deadline):
            self._records.tell(Event(EventKind.TARRIED, newest.step, worker) for worker in newest.ballots.unheard)
        self._inbox.note_deaths(newest.step)
        self._close(keep=0)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs, between two steps."""
        return {"model": self._model.state(), "outcomes": dict(self.outcomes), **self._records.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._model.restore(state["model"])
        self.outcomes.update(state["outcomes"])
        self._records.restore(state)

    def _judge(self, step: int) -> str:
        """Puts into quarantine who is due; says why more than q must be Byzantine, or nothing."""
        for round_ in self._inbox.rounds:
            if round_.step == step - 1 - self.quarantine.lag:
                self.quarantine.observe(round_.step, [*round_.events, *round_.ballots.verdicts])
        self._records.tell(self.roster.judge(step))
        if not (why := self.quarantine.exceeded(step)):
            return ""
        exceeded = f"more workers are Byzantine than q: {why}"
        if self.quarantine.fail_closed:
            raise ServerError(f"before step {step}: {exceeded}; quarantine.fail_closed ends the run")
        return exceeded

    def _update(self, step: int, votes: np.ndarray, round_: Round) -> str:
        """Aggregates the votes and makes the optimizer's step; returns why not, where it cannot."""
        if why := self.roster.too_few(len(votes)):
            self._record(round_, votes, None)
            return f"{len(votes)} of {len(round_.ballots)} groups have a vote: {why}"
        q = self.roster.q
        self._model.begin_update(round_.ballots.kept, self.aggregation.bad_votes(len(votes), q))
        with round_.clock.part("aggregate"):
            update, buffers = self.aggregation.aggregate(step, votes, q, self._model.own)
        with round_.clock.part("update"):
            self.aggregation.apply(votes, q, update, buffers, self._model.own)
            self._model.end_update()
            self._record(round_, votes, update)
        return ""

    def _record(self, round_: Round, votes: np.ndarray, update: Any) -> None:
        if self.chain is not None:
            f = self.aggregation.bad_votes(len(votes), self.roster.q)
            self.chain.record(round_.step, self._collector.weights_digest, round_.ballots.majorities, votes, f, update)

    def _close(self, keep: int) -> None:
        """Closes all but the newest rounds: what comes for them from now on is late."""
        for round_ in self._inbox.close(keep):
            self._records.close(round_)
