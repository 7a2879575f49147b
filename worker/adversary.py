"""The Byzantine workers of one rank: they attack alone, or agree with their fellows on other ranks first."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detox.tasks.seeds import stream
from detox.wire import PROBE, Header, Kind
from detox.worker.attacks import ATTACKS
from detox.worker.attacks import Kind as AttackKind
from detox.worker.placement import Placement


@dataclass
class _Plot:
    """What the colluders of one step know so far: worker -> (file, honest vector)."""

    expected: frozenset[int]
    since: float
    known: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict)
    waiting: list[Any] = field(default_factory=list)
    sent: np.ndarray | None = None


class Adversary:
    """Turns the honest vectors of Byzantine workers into what they send.

    Args:
        kind: the attack's name in ATTACKS.
        scale: its strength.
        placement: who is Byzantine.
        ranks: rank of each worker, as `fellows` numbers them.
        rank: this rank.
        fellows: messages to the other workers' ranks, on a communicator that the PS has no part in.
        wait: seconds until colluders go on with what they know.
        seed: of the attack's random numbers.
    """

    def __init__(
        self,
        kind: str,
        scale: float,
        placement: Placement,
        ranks: Sequence[int],
        rank: int,
        fellows: Any,
        wait: float,
        seed: int,
    ) -> None:
        self._kind: AttackKind = ATTACKS[kind]
        self._scale = scale
        self._placement = placement
        self._ranks = ranks
        self._rank = rank
        self._fellows = fellows
        self._wait = wait
        self._seed = seed
        self._plots: dict[int, _Plot] = {}

    def controls(self, worker: int, step: int) -> bool:
        """Whether the worker is Byzantine in this step."""
        return step != PROBE and worker in self._placement.byzantine(step)

    def take(self, ticket: Any, header: Header, vector: np.ndarray) -> None:
        """Takes the honest vector of a Byzantine worker; `ticket` comes back from `answers` with the lie."""
        plot = self._plot(header.step)
        plot.known[header.worker] = (header.file, vector)
        plot.waiting.append((ticket, vector))
        if self._kind.colludes:
            others = {self._ranks[worker] for worker in plot.expected} - {self._rank}
            share = Header(Kind.COLLUDE, header.step, header.worker, header.file)
            self._fellows.send(sorted(others), share, vector.data.cast("B"))

    def answers(self) -> Iterator[tuple[Any, np.ndarray]]:
        """The tickets whose attack is ready by now, each with what to send."""
        for message in self._fellows.receive():
            header = message.header
            if header is not None and header.kind == Kind.COLLUDE:
                vector = np.frombuffer(message.payload, np.float32)
                self._plot(header.step).known[header.worker] = (header.file, vector)
        for step, plot in self._plots.items():
            late = time.monotonic() - plot.since > self._wait
            if plot.waiting and (not self._kind.colludes or late or plot.expected <= plot.known.keys()):
                for ticket, own in plot.waiting:
                    yield ticket, self._attack(step, plot, own)
                plot.waiting.clear()

    def _attack(self, step: int, plot: _Plot, own: np.ndarray) -> np.ndarray:
        rng = stream(self._seed, "attack", step)
        if not self._kind.colludes:
            return self._kind.attack(own, own[None], rng, self._scale)
        if plot.sent is None:
            by_file = dict(sorted(plot.known.values(), key=lambda entry: entry[0]))
            plot.sent = self._kind.attack(own, np.stack(list(by_file.values())), rng, self._scale)
        return plot.sent

    def _plot(self, step: int) -> _Plot:
        if step not in self._plots:
            self._plots[step] = _Plot(self._placement.byzantine(step), time.monotonic())
            for old in [s for s in self._plots if s < step - 1]:
                del self._plots[old]
        return self._plots[step]
