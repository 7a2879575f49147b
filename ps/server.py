"""The parameter server's loop: DETOX, Algorithm 1, over messages."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch

from detox.aggregators import RULES, AggregatorError, Hierarchy, tolerates
from detox.ps.assignment import Files, Groups, draw_groups
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.round import Round
from detox.tasks.seeds import stream
from detox.wire import DIGEST_BYTES, Codec, Header, Kind, Work, digest_of

_WINDOW = 8  # steps that late claims still count for


class ServerError(RuntimeError):
    """Training cannot go on; the message says why."""


class Peers(Protocol):
    """What the server needs of a transport (detox.wire.transport.Transport)."""

    dead: set[int]
    limits: dict[int, int]
    bytes_received: int

    def send(self, peers: Any, header: Header, payload: bytes | memoryview = b"") -> None: ...
    def sending(self, peer: int) -> int: ...
    def receive(self) -> Iterator[Any]: ...


@dataclass(frozen=True)
class Plan:
    """What a run does at every step.

    Attributes:
        p, r: workers, and workers a group.
        groups: how groups are formed.
        seed, secret_seed: of the fixed or random groups; of redrawn groups and the shuffle of the votes.
        files: the samples of each step.
        direct: gradients come without a claim (r = 1, or vote = "full").
        hierarchy: turns votes into an update.
        f: bad votes that it is to withstand.
        deadline, fetch_deadline, poll: seconds, see the config's section transport.
    """

    p: int
    r: int
    groups: Literal["fixed", "random", "redrawn"]
    seed: int
    secret_seed: int
    files: Files
    direct: bool
    hierarchy: Hierarchy
    f: int
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
    """

    step: int
    skipped: str
    seconds: dict[str, float]
    bytes_in: int


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
        self, transport: Peers, ranks: list[int], model: GlobalModel, codec: Codec, plan: Plan, ledger: Ledger
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self.ledger = ledger
        self._transport = transport
        self._ranks = ranks
        self._model = model
        self._codec = codec
        self._plan = plan
        self._rows = np.empty((plan.files.count, model.d + model.b), np.float32)
        self._open: deque[Round] = deque()
        transport.limits.update({Kind.CLAIM: DIGEST_BYTES, Kind.GRADIENT: codec.limit})

    def train(self, first: int, last: int) -> Iterator[StepRecord]:
        """Algorithm 1: makes steps first..last, counted from 1, and yields after each.

        Raises:
            ServerError: no rank with workers is left.
        """
        for step in range(first, last + 1):
            if self._transport.dead >= set(self._ranks):
                raise ServerError(f"all ranks with workers are lost, before step {step}")
            groups = self.groups(step)
            round_ = self._send_work(step, groups)
            received = self._transport.bytes_received
            votes = self._collect(round_)
            skipped = self._update(step, votes, round_)
            yield StepRecord(step, skipped, round_.clock.read(), self._transport.bytes_received - received)
        self.settle_accounts()

    def groups(self, step: int) -> Groups:
        """The groups of a step: group j works on file j."""
        plan = self._plan
        seed = plan.secret_seed if plan.groups == "redrawn" else plan.seed
        return draw_groups(plan.p, plan.r, plan.groups, seed, step)

    def _send_work(self, step: int, groups: Groups) -> Round:
        """Sends each rank the weights, and each of its workers the file of its group."""
        plan = self._plan
        round_ = Round(
            step,
            groups,
            direct=plan.direct,
            rows=self._rows,
            codec=self._codec,
            ledger=self.ledger,
            fetch_deadline=plan.fetch_deadline,
        )
        files = plan.files.draw(step)
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
        self._open.append(round_)
        while len(self._open) > _WINDOW:
            self._close(self._open.popleft())
        return round_

    def _collect(self, round_: Round) -> np.ndarray:
        """Waits for majorities, fetches one copy of each; (m, d + b), the votes there are at the deadline."""
        deadline = time.monotonic() + self._plan.deadline
        while not round_.finished(self._gone()) and time.monotonic() < deadline:
            if not self._take_messages():
                time.sleep(self._plan.poll)
            for worker, file in round_.fetches(time.monotonic(), self._gone()):
                self._transport.send([self._ranks[worker]], Header(Kind.FETCH, round_.step, worker, file))
        return round_.votes()

    def _update(self, step: int, votes: np.ndarray, round_: Round) -> str:
        """Aggregates the votes and makes the optimizer's step; returns why not, where it cannot."""
        plan, d = self._plan, self._model.d
        if not len(votes):
            return "no group has a vote"
        try:
            plan.hierarchy.check(len(votes), plan.f)
        except AggregatorError as error:
            return f"{len(votes)} of {plan.files.count} groups have a vote: {error}"
        with round_.clock.part("aggregate"):
            on_device = votes if self._model.device.type == "cpu" else torch.from_numpy(votes).to(self._model.device)
            rng = stream(plan.secret_seed, "votes", step)
            update = plan.hierarchy(on_device[:, :d], f=plan.f, rng=rng)
            buffers = None
            if self._model.b:
                buffers = RULES["median"](on_device[:, d:], f=min(plan.f, tolerates("median", len(votes))))
        with round_.clock.part("update"):
            self._model.apply(update, buffers)
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
                rounds[header.step].take(header, message.payload)
            elif header.step < newest:
                self.ledger.note("late", newest, header.worker, f"{header.kind.name} for step {header.step}")
            else:
                detail = f"{header.kind.name} for step {header.step}, which has not begun"
                self.ledger.note("malformed", newest, header.worker, detail)
        return any_came

    def _gone(self) -> frozenset[int]:
        """Workers on ranks that have died."""
        dead = self._transport.dead
        return frozenset(w for w, rank in enumerate(self._ranks) if rank in dead) if dead else frozenset()

    def _close(self, round_: Round) -> None:
        self.outcomes.update(outcome.value for outcome in round_.close())

    def settle_accounts(self) -> None:
        """Gives the workers that are still busy with the last step a moment, and closes all rounds."""
        deadline = time.monotonic() + min(self._plan.deadline, 5.0)
        silent = self._open[-2].unheard() if len(self._open) > 1 else frozenset()
        while self._open and time.monotonic() < deadline:
            if self._open[-1].unheard() <= self._gone() | silent:
                break
            if not self._take_messages():
                time.sleep(self._plan.poll)
        while self._open:
            self._close(self._open.popleft())
