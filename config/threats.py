"""What goes wrong in a run on purpose: the attack of the Byzantine workers, and faults."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from detox.config.fields import Count, Natural, Seconds, Section, Seed, Several
from detox.errors.words import counted
from detox.wire import Channel, Codec, Session
from detox.worker.attacks import ATTACKS
from detox.worker.corruption import CORRUPTIONS, Corruptor, Times
from detox.worker.faults import FaultKind, Faults
from detox.worker.knowledge import Perturbation
from detox.worker.placement import How
from detox.worker.relay_faults import RELAYS, RelayFaults

if TYPE_CHECKING:
    AttackName = str
else:
    AttackName = Literal[tuple(ATTACKS)]


class AttackConfig(Section):
    """What the q Byzantine workers do, and which workers they are."""

    kind: AttackName = "reversed"
    """The attack, see docs/attacks.md; with q = 0 there is none."""
    placement: How = "random"
    """Who is Byzantine: random, drawn anew each step; fixed, drawn once; worst, (r+1)/2 in each of as many groups
    as q allows; spread, one in each group, then a second; group, whole groups; optimal, the q that spoil most files,
    found by search, or the best that a search finds in time. The last four know groups that are fixed, random (`seed`
    is public) or a design. Where they are redrawn, they have to commit before the draw, to a guess of them."""
    knowledge: Literal["colluders", "omniscient"] = "colluders"
    """What attacks that collude know: the honest gradients of the colluders' own files, or of all files. framing takes
    omniscient: those who know all gradients know who holds which file."""
    when: Literal["always", "majority", "unanimous", "framing"] = "always"
    """When Byzantine workers lie. majority: about files of which they are (r+1)/2 holders or more, so that they win the
    vote; unanimous: about those of which all that are asked are theirs, so that nobody contradicts; framing: about
    those whose holders are all Byzantine or one of q honest workers that they have chosen, so that nobody can tell the
    ones from the others (Aspis' best attack). Else they send what is honest."""
    scale: float | None = None
    """Strength, such as c of -c*g; what it means and its default are in docs/attacks.md. Unset: the default."""
    perturbation: Perturbation = "std"
    """Direction of min_max and min_sum: -std, -mean / |mean| (unit) or -sign(mean) of the known gradients."""
    seed: Seed = 0
    """Seed of the placement and of random attacks."""
    wait: Seconds = 10.0
    """Seconds that colluding workers wait for gradients before they go on with what they have."""


class FaultConfig(Section):
    """Faults to inject, for tests and drills: these workers break down on purpose, beside the q Byzantine ones."""

    worker: Annotated[tuple[Natural, ...], Several] = ()
    """Workers with a fault; a fault of a whole rank (kill, stop, ...) takes the rank's other workers along."""
    kind: Annotated[tuple[FaultKind, ...], Several] = ()
    """What is wrong with each of them, in the same order; one kind serves them all."""
    first: Count = 2
    """First step with faults."""
    last: Natural = 0
    """Last step with faults; 0: the end."""
    every: Count = 1
    """Steps from one fault to the next."""
    mean_steps: Annotated[float, Field(ge=1, le=1e9)] | None = None
    """Steps from one fault to the next on average, where they come at random. Unset: as `every` says."""
    repeatable: bool = False
    """Whether silent corruption (bit_flip, nan, inf, nullify, stripe, sdc) is the same, or none, whenever the same
    gradient is computed, so that computing it twice does not show it."""
    seed: Seed = 0
    """Seed of what is corrupted, and of when where that is random."""
    seconds: Seconds = 2.0
    """How long stop, straggle, late, tarry, relay_delay and floods last."""

    def why_not(self, p: int) -> str:
        """What p workers do not have, and which fields do not go together; empty where all is well."""
        if strangers := [worker for worker in self.worker if worker >= p]:
            return f"fault.worker: {strangers[0]} is no worker, they are 0 to {p - 1}"
        if self.worker and not self.kind:
            return "fault.worker without fault.kind: name the fault, such as sdc"
        if self.worker and len(self.kind) not in (1, len(self.worker)):
            kinds, workers = counted(len(self.kind), "kind"), counted(len(self.worker), "worker")
            return f"fault.kind: {kinds} for {workers}; one for each, or one"
        if self.kind and not self.worker:
            return "fault.kind without fault.worker: name the workers with the fault"
        if len(set(self.worker)) < len(self.worker):
            return "fault.worker: a worker is named twice; it has one fault at a time"
        if self.mean_steps is not None and self.every > 1:
            return f"fault.mean_steps = {self.mean_steps:g} and fault.every = {self.every}: one of them, please"
        if self.repeatable and not set(self.kind) <= CORRUPTIONS.keys():
            other = next(kind for kind in self.kind if kind not in CORRUPTIONS)
            return f"fault.repeatable is for {', '.join(CORRUPTIONS)}; fault.kind has {other}"
        if 0 < self.last < self.first:
            return f"fault.last = {self.last} is before fault.first = {self.first}"
        return ""

    def on(self, worker: int, step: int) -> bool:
        """Whether the worker has a fault that may show in the step."""
        return worker in self.worker and self._times.possible(step)

    def corrupts(self, worker: int, step: int) -> bool:
        """Whether it may corrupt the worker's gradient, whatever else it does."""
        return self.on(worker, step) and self._by_worker[worker] in CORRUPTIONS

    def create_channel(
        self, channel: Channel, codecs: Sequence[Codec], rank: int, ranks: Sequence[int], abort: Callable[[], None]
    ) -> Channel:
        """The rank's channel, with the faults of its workers around it if they break down or send faulty messages.

        Args:
            channel: carries the rank's messages.
            codecs: how gradients travel to each of its peers.
            rank: the rank.
            ranks: rank of each worker.
            abort: ends the rank the way that MPI has for it.
        """
        others = CORRUPTIONS.keys() | RELAYS.keys()
        own = {worker: kind for worker, kind in self._kinds(rank, ranks).items() if kind not in others}
        if not own:
            return channel
        return Faults(
            channel,
            codecs,
            own,
            others=next((worker for worker, other in enumerate(ranks) if other != rank), len(ranks)),
            times=self._times,
            seed=self.seed,
            seconds=self.seconds,
            abort=abort,
        )

    def create_relay_channel(self, channel: Channel, session: Session, rank: int, ranks: Sequence[int]) -> Channel:
        """The rank's channel to the others, with the faults of its workers around it if it does not pass on properly.

        Args:
            channel: carries the rank's messages to other ranks of workers.
            session: its conversation with the PS.
            rank: the rank.
            ranks: rank of each worker.
        """
        own = {worker: kind for worker, kind in self._kinds(rank, ranks).items() if kind in RELAYS}
        if not own:
            return channel
        return RelayFaults(channel, session, own, times=self._times, seed=self.seed, seconds=self.seconds)

    def create_corruptor(self, rank: int, ranks: Sequence[int]) -> Corruptor | None:
        """The silent corruption of a rank's workers; None where it has none.

        Args:
            rank: the rank.
            ranks: rank of each worker.
        """
        own = {worker: kind for worker, kind in self._kinds(rank, ranks).items() if kind in CORRUPTIONS}
        return Corruptor(own, self._times, self.seed, repeatable=self.repeatable) if own else None

    def _kinds(self, rank: int, ranks: Sequence[int]) -> dict[int, FaultKind]:
        return {worker: kind for worker, kind in self._by_worker.items() if ranks[worker] == rank}

    @property
    def _by_worker(self) -> dict[int, FaultKind]:
        kinds = self.kind * len(self.worker) if len(self.kind) == 1 else self.kind
        return dict(zip(self.worker, kinds, strict=True))

    @property
    def _times(self) -> Times:
        return Times(self.first, self.last, self.every, self.mean_steps)
