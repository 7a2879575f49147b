"""The Byzantine workers of one rank: they attack alone, or agree with their fellows on other ranks first."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from detox.assignment import Edge
from detox.assignment.seeds import stream
from detox.wire import PROBE, Header, Kind, Message
from detox.worker.attacks import ATTACKS, AttackKind
from detox.worker.defence import Defence
from detox.worker.knowledge import Knowledge, Perturbation
from detox.worker.placement import Placement

if TYPE_CHECKING:
    from detox.tasks import Task


_STEPS = 2  # of which a rank's word is kept, or on its way to another


@dataclass
class _Plot:
    """What this rank knows of one step so far, and who waits for an answer."""

    awaited: frozenset[int]
    since: float
    heard: dict[Edge, None] = field(default_factory=dict)
    honest: dict[int, np.ndarray] = field(default_factory=dict)
    holders: dict[int, int] = field(default_factory=dict)  # of each file in `honest`, the worker that told of it
    waiting: list[tuple[Any, int, np.ndarray]] = field(default_factory=list)
    ready: bool = False
    sent: np.ndarray | None = None

    def forget(self, workers: Set[int]) -> None:
        """Forgets what these have told."""
        self.heard = {edge: None for edge in self.heard if edge[0] not in workers}
        for file in [file for file, holder in self.holders.items() if holder in workers]:
            del self.honest[file], self.holders[file]


class Adversary:
    """Turns the honest vectors of Byzantine workers into what they send.

    Where the attack colludes, each Byzantine worker's honest vector goes to all ranks with Byzantine workers, or to all
    ranks if the attack remembers; where it is omniscient, every honest worker's goes there too. A rank answers when it
    has heard of all their files. After `wait` seconds, or when the PS is two steps further, it goes on with what it
    knows, and from then on does not wait for what was missing until it hears of it again. It takes of a rank what that
    one's workers can hold, of two steps at a time, and tells a rank that takes nothing no more than that: so no rank
    fills another's memory.

    Args:
        kind: the attack's name in ATTACKS.
        scale: its strength.
        placement: who is Byzantine in which step.
        ranks: rank of each worker, as `fellows` numbers them.
        rank: this rank, likewise.
        fellows: the conversation with the other workers' ranks, on a communicator that the PS has no part in;
            None where they say nothing to each other.
        wait: seconds until colluders go on with what they know.
        seed: of the attack's random numbers.
        files: that a worker holds in a step.
        size: entries of a vector, d + b; None: any.
        omniscient: whether colluders know the gradients of all files, or of their own only.
        perturbation: direction of min_max and min_sum.
        defence: the aggregation at the PS; None: not known, and all entries are gradient.
        majority: colluders that have to hold a file for them to lie about it; with fewer they send what is honest.
        framing: whether they lie about those files alone whose holders are all Byzantine or framed, see Placement. Who
            holds a file, honest workers have to tell them: it takes `omniscient`.
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
        *,
        files: int = 1,
        size: int | None = None,
        omniscient: bool = False,
        perturbation: Perturbation = "std",
        defence: Defence | None = None,
        majority: int = 0,
        framing: bool = False,
    ) -> None:
        self._kind: AttackKind = ATTACKS[kind]
        self._scale = scale
        self._placement = placement
        self._ranks = ranks
        self._rank = rank
        self._fellows = fellows
        self._wait = wait
        self._seed = seed
        self._majority = majority
        self._framing = framing
        self._omniscient = omniscient and (self._kind.colludes or framing)
        self._perturbation = perturbation
        self._defence = defence
        self._memory: dict[str, Any] = {}
        self._files = files
        self._size = size
        self._steps: dict[int, list[int]] = {}  # of which a rank has told last, by rank, ascending
        self._expected: dict[int, int] = {}  # files, of workers that were missing with some
        self._plots: dict[int, _Plot] = {}

    def controls(self, worker: int, step: int) -> bool:
        """Whether the worker is Byzantine in this step."""
        return step != PROBE and worker in self._placement.byzantine(step)

    def poison(self, task: "Task") -> "Task":
        """What Byzantine workers train on; raises TaskError where the task cannot be attacked like that."""
        return task if self._kind.data is None else self._kind.data(task)

    def take(self, ticket: Any, header: Header, vector: np.ndarray) -> None:
        """Takes the honest vector of a Byzantine worker.

        Args:
            ticket: comes back from `answers` with what to send.
            header: the edge and the step.
            vector: (d + b,) float32.
        """
        for old in [step for step in self._plots if step < header.step - 1]:
            self._give_up(self._plots.pop(old))
        self._plot(header.step).waiting.append((ticket, header.file, vector))
        if self._agrees:
            self._share(header, vector)

    def overhear(self, header: Header, vector: np.ndarray) -> None:
        """Lets colluders know of an honest worker's vector, if they are omniscient."""
        if self._omniscient and header.step != PROBE:
            self._share(header, vector)

    def answers(self) -> Iterator[tuple[Any, np.ndarray]]:
        """The tickets whose attack is ready by now, each with what to send."""
        for message in self._fellows.receive() if self._agrees else ():
            header = message.header
            if header is not None and header.kind == Kind.COLLUDE and self._admits(message.source, header, message):
                self._learn(header, np.frombuffer(message.payload, np.float32))
        for step, plot in sorted(self._plots.items()):
            if self._agrees and not plot.ready:
                if not self._ready(plot):
                    continue
                plot.ready = True
                if self._kind.colludes:
                    plot.sent = self._attack(step, plot, dict(sorted(plot.honest.items())))
            for ticket, file, own in plot.waiting:
                if not self._lies(step, plot, file):
                    yield ticket, own
                else:
                    yield ticket, self._attack(step, plot, {file: own}) if plot.sent is None else plot.sent
            plot.waiting.clear()

    @property
    def _agrees(self) -> bool:
        """Whether colluders hear of each other before they send anything."""
        return self._kind.colludes or self._majority > 0 or self._framing

    def _lies(self, step: int, plot: _Plot, file: int) -> bool:
        """Whether they lie about this file."""
        if self._framing:
            inside = self._placement.byzantine(step) | self._placement.framed(step)
            return all(worker in inside for worker, held in plot.heard if held == file)
        return self._colluders(step, plot).count(file) >= self._majority

    def _colluders(self, step: int, plot: _Plot) -> list[int]:
        """The file of each colluder that has been heard of, as often as it has one."""
        byzantine = self._placement.byzantine(step)
        return [file for worker, file in plot.heard if worker in byzantine]

    def _share(self, header: Header, vector: np.ndarray) -> None:
        everyone = range(len(self._ranks)) if self._kind.remembers else self._placement.byzantine(header.step)
        audience = {self._ranks[worker] for worker in everyone}
        if self._rank in audience:
            self._learn(header, vector)
        share = Header(Kind.COLLUDE, header.step, header.worker, header.file)
        most = _STEPS * self._files * self._ranks.count(self._rank)
        listening = [rank for rank in sorted(audience - {self._rank}) if self._fellows.sending(rank) < most]
        self._fellows.send(listening, share, vector.data.cast("B"))

    def _admits(self, source: int, header: Header, message: Message) -> bool:
        """Whether a rank may tell of this: it is about a worker of its own, and as long as a vector."""
        if header.worker >= len(self._ranks) or self._ranks[header.worker] != source:
            return False
        return len(message.payload) == 4 * self._size if self._size is not None else not len(message.payload) % 4

    def _learn(self, header: Header, vector: np.ndarray) -> None:
        if not self._make_room(self._ranks[header.worker], header.step):
            return
        plot, edge = self._plot(header.step), (header.worker, header.file)
        if edge not in plot.heard and sum(worker == header.worker for worker, _ in plot.heard) >= self._files:
            return
        plot.heard[edge] = None
        if header.file not in plot.honest:
            plot.honest[header.file], plot.holders[header.file] = vector, header.worker
        if header.worker in self._expected:
            heard = sum(worker == header.worker for worker, _ in plot.heard)
            self._expected[header.worker] = max(self._expected[header.worker], min(heard, self._files))

    def _make_room(self, rank: int, step: int) -> bool:
        """Forgets what a rank has told of its third newest step; whether this one is newer."""
        steps = self._steps.setdefault(rank, [])
        if step in steps:
            return True
        steps.append(step)
        steps.sort()
        if len(steps) <= _STEPS:
            return True
        oldest = steps.pop(0)
        plot = self._plots.get(oldest)
        if plot is not None:
            plot.forget({worker for worker, at in enumerate(self._ranks) if at == rank})
            if not plot.heard and not plot.waiting:
                del self._plots[oldest]
        return step != oldest

    def _ready(self, plot: _Plot) -> bool:
        """Whether nothing more is waited for."""
        if not self._missing(plot):
            return True
        if time.monotonic() - plot.since <= self._wait:
            return False
        self._give_up(plot)
        return True

    def _missing(self, plot: _Plot) -> dict[int, int]:
        """Files that have been heard of, of each worker of whom more are awaited."""
        heard = Counter(worker for worker, _ in plot.heard)
        return {w: heard[w] for w in plot.awaited if heard[w] < self._expected.get(w, self._files)}

    def _give_up(self, plot: _Plot) -> None:
        """Awaits no more, from now on, of those with whom something is missing in this step."""
        if not plot.ready:
            self._expected |= self._missing(plot)

    def _attack(self, step: int, plot: _Plot, honest: dict[int, np.ndarray]) -> np.ndarray:
        """The attack on what is known, by file in ascending order."""
        known = np.stack(list(honest.values()))
        held = self._colluders(step, plot)
        shuffle = partial(stream, self._seed, "defence", step)
        return self._kind.attack(
            Knowledge(
                own=known[0],
                known=known,
                files=tuple(honest),
                rng=stream(self._seed, "attack", step),
                scale=self._scale,
                d=None if self._defence is None else self._defence.d,
                perturbation=self._perturbation,
                memory=self._memory,
                rehearse=None if self._defence is None else partial(self._defence.rehearse, honest, held, shuffle),
            )
        )

    def _plot(self, step: int) -> _Plot:
        if step not in self._plots:
            awaited = frozenset(range(len(self._ranks))) if self._omniscient else self._placement.byzantine(step)
            self._plots[step] = _Plot(awaited, time.monotonic())
        return self._plots[step]
