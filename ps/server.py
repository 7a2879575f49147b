"""The parameter server's loop: DETOX, Algorithm 1, over messages."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch

from detox.aggregators import AggregatorError, Hierarchy
from detox.ps.absences import Absences
from detox.ps.assignment import Files, Groups, draw_groups, worst_case
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.quarantine import Quarantine
from detox.ps.round import Round
from detox.tasks.seeds import stream
from detox.wire import DIGEST_BYTES, Codec, Header, Kind, Work, digest_of

LATE_STEPS = 8
"""Steps that late claims still count for."""


class ServerError(RuntimeError):
    """Training cannot go on; the message says why."""


class Peers(Protocol):
    """What the server needs of a transport (detox.wire.transport.Transport)."""

    dead: set[int]
    limits: dict[int, int]
    credit: dict[int, Counter[int]]
    bytes_received: int

    def send(self, peers: Any, header: Header, payload: bytes | memoryview = b"") -> None: ...
    def sending(self, peer: int) -> int: ...
    def receive(self) -> Iterator[Any]: ...


@dataclass(frozen=True)
class Plan:
    """What a run does at every step.

    Attributes:
        p, q, r: workers, Byzantine workers that are to be withstood, workers a group.
        groups: how groups are formed.
        classes: workers of which only those of one class share a group; empty: all may.
        seed, secret_seed: of the fixed or random groups; of redrawn groups and the shuffle of the votes.
        files: the samples of each step.
        direct: gradients come without a claim (r = 1, or vote = "full" or "tolerance").
        tolerance: distance up to which copies agree, see detox.ps.tolerance; None: only equal bits do.
        hierarchy: turns votes into an update.
        f: bad votes that it is to withstand; None: the most that the Byzantine workers not in quarantine can make.
        on_tie: whether the PS computes a file itself whose group has no vote.
        minimum: workers that quarantine leaves in any case.
        deadline, fetch_deadline, poll: seconds, see the config's section transport.
    """

    p: int
    q: int
    r: int
    groups: Literal["fixed", "random", "redrawn"]
    classes: tuple[tuple[int, ...], ...]
    seed: int
    secret_seed: int
    files: Files
    direct: bool
    tolerance: float | None
    hierarchy: Hierarchy
    f: int | None
    on_tie: Literal["drop", "recompute"]
    minimum: int
    deadline: float
    fetch_deadline: float
    poll: float


@dataclass(frozen=True)
class StepRecord:
    """What a step did.

    Attributes:
        step: its number, from 1.
        skipped: why no update was made; empty where one was.
        seconds: by part, see stopwatch.PARTS.
        bytes_in: into the PS.
        quarantined: what there is to say of workers that were put into quarantine before the step.
    """

    step: int
    skipped: str
    seconds: dict[str, float]
    bytes_in: int
    quarantined: tuple[str, ...] = ()


class Server:
    """Trains a model with workers that may send anything, or nothing.

    Args:
        transport: messages to the workers' ranks.
        ranks: rank of each worker.
        model: the weights and their optimizer.
        codec: how gradients travel.
        plan: what to do.
        ledger: where offences go.
    """

    def __init__(
        self,
        transport: Peers,
        ranks: list[int],
        model: GlobalModel,
        codec: Codec,
        plan: Plan,
        ledger: Ledger,
        quarantine: Quarantine,
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self.ledger = ledger
        self.quarantine = quarantine
        self.stopping = False
        self._transport = transport
        self._ranks = ranks
        self._model = model
        self._codec = codec
        self._plan = plan
        self._rows = np.empty((plan.files.count, model.d + model.b), np.float32)
        self._open: deque[Round] = deque()
        self._dead: frozenset[int] = frozenset()
        self._absences = Absences()
        self._late = Absences()
        self._verdicts: dict[tuple[int, int], str] = {}
        self._credit = transport.credit[Kind.GRADIENT] = Counter()
        transport.limits.update({Kind.CLAIM: DIGEST_BYTES, Kind.GRADIENT: codec.limit})

    def train(self, first: int, last: int) -> Iterator[StepRecord]:
        """Algorithm 1: makes steps first..last, counted from 1, and yields after each; fewer if told to stop.

        Raises:
            ServerError: no rank with workers is left.
        """
        for step in range(first, last + 1):
            if self.stopping:
                break
            if self._transport.dead >= set(self._ranks):
                raise ServerError(f"all ranks with workers are lost, before step {step}")
            while len(self._open) >= LATE_STEPS:
                self._close(self._open.popleft())
            before = self.ledger.state(), self.quarantine.state()
            quarantined = self._judge(step)
            groups = self.groups(step)
            round_ = self._send_work(step, groups)
            received = self._transport.bytes_received
            self._check_suspect(round_)
            votes = self._collect(round_)
            if self.stopping:
                # The step is made again after a restart: as if it had never begun.
                self._open.pop()
                self.ledger.restore(before[0])
                self.quarantine.restore(before[1])
                break
            skipped = self._update(step, votes, round_)
            bytes_in = self._transport.bytes_received - received
            yield StepRecord(step, skipped, round_.clock.read(), bytes_in, quarantined)
        self.settle_accounts()

    def stop(self) -> None:
        """Ends the training before the next update; the step under way is given up."""
        self.stopping = True

    @property
    def workers(self) -> list[int]:
        """Workers that are not in quarantine."""
        return [worker for worker in range(self._plan.p) if worker not in self.quarantine.out]

    def groups(self, step: int) -> Groups:
        """The groups of a step: group j works on file j."""
        plan = self._plan
        seed = plan.secret_seed if plan.groups == "redrawn" else plan.seed
        return draw_groups(self.workers, plan.r, plan.groups, seed, step, plan.classes)

    def bad_votes(self, groups: int) -> int:
        """f: the bad votes, of so many, that the aggregation is to withstand."""
        plan = self._plan
        return worst_case(self._liars_left, plan.r, groups) if plan.f is None else plan.f

    @property
    def _liars_left(self) -> int:
        """q, less those in quarantine if that takes a proof: dissents alone may have put the honest there."""
        proven = len(self.quarantine.out) if self.quarantine.policy == "recompute" else 0
        return max(0, self._plan.q - proven)

    def _judge(self, step: int) -> tuple[str, ...]:
        """Puts into quarantine who is due, as long as enough workers are left for the aggregation; says whom."""
        said = []
        for worker in self.quarantine.due(step):
            self.quarantine.out[worker] = step
            left = len(self.workers)
            groups = len(self.groups(step))
            if left >= self._plan.minimum and not self._too_few(groups):
                f = self.bad_votes(groups)
                detail = f"{left} workers are left in {groups} groups; now q = {self._liars_left} and f = {f}"
                self.ledger.note("quarantined", step, worker, detail)
                said.append(f"worker {worker} on {self.ledger.host_of[worker]} is in quarantine from now on: {detail}")
            else:
                del self.quarantine.out[worker]
                if not self.ledger.counts[worker]["spared"]:
                    self.ledger.note("spared", step, worker, f"without it only {left} workers would be left")
        return tuple(said)

    def _too_few(self, votes: int) -> str:
        """Why so many votes are too few for the aggregation; empty where they are not."""
        if not votes:
            return "there is nothing to aggregate"
        case = votes, self.bad_votes(votes)
        if case not in self._verdicts:
            try:
                self._plan.hierarchy.rehearse(*case)
                self._verdicts[case] = ""
            except AggregatorError as error:
                self._verdicts[case] = str(error)
        return self._verdicts[case]

    def _send_work(self, step: int, groups: Groups) -> Round:
        """Sends each rank the weights, and each of its workers the file of its group."""
        plan = self._plan
        round_ = Round(
            step,
            groups,
            direct=plan.direct,
            tolerance=plan.tolerance,
            d=self._model.d,
            rows=self._rows,
            codec=self._codec,
            ledger=self.ledger,
            fetch_deadline=plan.fetch_deadline,
        )
        files = plan.files.draw(step, len(groups))
        with round_.clock.part("transfer"):
            weights = self._model.weights
            digest = digest_of(weights)
            # A rank that has not yet taken the last weights would only fall further behind with these.
            ready = {rank for rank in set(self._ranks) if not self._transport.sending(rank)}
            self._transport.send(sorted(ready), Header(Kind.WEIGHTS, step), weights.data.cast("B"))
            for file, group in enumerate(groups):
                work = Work(digest, plan.files.file_seed(step, file), not plan.direct, files[file]).pack()
                for worker in group:
                    if self._ranks[worker] in ready:
                        self._transport.send([self._ranks[worker]], Header(Kind.WORK, step, worker, file), work)
                        self._credit[self._ranks[worker]] += plan.direct
        self._open.append(round_)
        return round_

    def _check_suspect(self, round_: Round) -> None:
        """Computes the file of a suspect here, while the workers compute it too."""
        worker = self.quarantine.suspect(round_.step, round_.file_of)
        if worker is not None:
            self._recompute(round_, round_.file_of[worker])

    def _recompute(self, round_: Round, file: int) -> None:
        files = self._plan.files
        indices = files.draw(round_.step, len(round_.ballots))[file]
        seed = files.file_seed(round_.step, file)
        round_.decide(file, self._model.compute(indices, seed))

    def _collect(self, round_: Round) -> np.ndarray:
        """Waits for majorities, fetches one copy of each; (m, d + b), the votes there are at the deadline."""
        deadline = time.monotonic() + self._plan.deadline
        while not self.stopping and not self._collected(round_):
            if time.monotonic() > deadline:
                self._absences.missed(round_.step, round_.unheard())
                break
            if not self._take_messages():
                time.sleep(self._plan.poll)
            for worker, file in round_.fetches(time.monotonic(), self._gone(), self._absences.workers):
                self._credit[self._ranks[worker]] += 1
                self._transport.send([self._ranks[worker]], Header(Kind.FETCH, round_.step, worker, file))
        if self._plan.on_tie == "recompute":
            for file in round_.undecided():
                if not self.stopping:
                    self._recompute(round_, file)
        return round_.votes()

    def _collected(self, round_: Round) -> bool:
        """Whether to wait no longer; for workers that missed a deadline only if there are too few votes without."""
        gone, absent = self._gone(), self._absences.workers
        if round_.finished(gone):
            return True
        return bool(absent) and round_.finished(gone | absent) and not self._too_few(sum(round_.settled))

    def _update(self, step: int, votes: np.ndarray, round_: Round) -> str:
        """Aggregates the votes and makes the optimizer's step; returns why not, where it cannot."""
        plan, d = self._plan, self._model.d
        if why := self._too_few(len(votes)):
            return f"{len(votes)} of {len(round_.ballots)} groups have a vote: {why}"
        f = self.bad_votes(len(votes))
        with round_.clock.part("aggregate"):
            on_device = votes if self._model.device.type == "cpu" else torch.from_numpy(votes).to(self._model.device)
            rng = stream(plan.secret_seed, "votes", step)
            update = plan.hierarchy(on_device[:, :d], f=f, rng=rng, previous=self._model.previous)
            buffers = self._model.agree(on_device[:, d:], f) if self._model.b else None
        with round_.clock.part("update"):
            self._model.apply(update, buffers, self._model.without_gradient(votes, f))
            self._model.previous = update if plan.hierarchy.uses("previous") else None
        return ""

    def _take_messages(self) -> bool:
        """Hands what has arrived to the rounds that it belongs to; False where nothing has."""
        any_came = False
        rounds = {round_.step: round_ for round_ in self._open}
        newest = self._open[-1].step
        for message in self._transport.receive():
            any_came = True
            header = message.header
            if header is None:
                self.ledger.note_rank(newest, message.source, message.fault)
            elif header.kind not in (Kind.CLAIM, Kind.GRADIENT):
                self.ledger.note_rank(newest, message.source, f"{header.kind.name} has no place here")
            elif header.worker >= len(self._ranks) or self._ranks[header.worker] != message.source:
                detail = f"spoke for worker {header.worker}, which is not on this rank"
                self.ledger.note_rank(newest, message.source, detail)
            elif header.step in rounds:
                self._absences.answered(header.worker, header.step)
                self._late.answered(header.worker, header.step)
                asked_for = rounds[header.step].take(header, message.payload)
                self._credit[message.source] -= asked_for and header.kind == Kind.GRADIENT
            elif header.step < newest:
                self.ledger.note("late", newest, header.worker, f"{header.kind.name} for step {header.step}")
            else:
                detail = f"{header.kind.name} for step {header.step}, which has not begun"
                self.ledger.note("malformed", newest, header.worker, detail)
        return any_came

    def _gone(self) -> frozenset[int]:
        """Workers on ranks that have died; news go into the ledger."""
        dead = self._transport.dead
        if dead and any(rank in dead and worker not in self._dead for worker, rank in enumerate(self._ranks)):
            gone = frozenset(worker for worker, rank in enumerate(self._ranks) if rank in dead)
            for worker in sorted(gone - self._dead):
                self.ledger.note("dead", self._open[-1].step, worker, f"rank {self._ranks[worker]} is lost")
            self._dead = gone
        return self._dead

    def _close(self, round_: Round) -> None:
        self.outcomes.update(outcome.value for outcome in round_.close())
        self.quarantine.observe(round_.step, round_.noted)
        self._credit.clear()
        self._credit.update(self._ranks[worker] for open_ in self._open for worker in open_.awaited())

    def settle_accounts(self) -> None:
        """Gives the workers that are still busy with the last step a moment, and closes all rounds."""
        deadline = time.monotonic() + min(self._plan.deadline, 5.0)
        silent = self._open[-2].unheard() if len(self._open) > 1 else frozenset()
        silent |= self._absences.workers
        while self._open and not self._open[-1].unheard() <= self._gone() | silent | self._late.workers:
            if time.monotonic() > deadline:
                self._late.missed(self._open[-1].step, self._open[-1].unheard())
                break
            if not self._take_messages():
                time.sleep(self._plan.poll)
        # What the slow were asked for may still come, and is then late, not uncalled for.
        due = self._open[-1].awaited() if self._open else []
        while self._open:
            self._close(self._open.popleft())
        self._credit.update(self._ranks[worker] for worker in due)
