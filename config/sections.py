"""The sections of a config, and what they build."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, Strict

from detox.aggregators import Hierarchy, create_hierarchy
from detox.config.fields import ConfigError, Count, Fraction, Natural, Option, Positive, Seconds, Seed, counted
from detox.ps.quarantine import Quarantine
from detox.ps.round import LATE_STEPS
from detox.tasks.samples import Files
from detox.tasks.shards import Split, cut
from detox.wire import LONGEST, Channel, Codec, Work
from detox.worker.attacks import ATTACKS
from detox.worker.faults import FaultKind, Faults
from detox.worker.knowledge import Perturbation
from detox.worker.placement import How

if TYPE_CHECKING:
    from detox.ps.model import GlobalModel
    from detox.tasks import Task

    AttackName = str
else:
    AttackName = Literal[tuple(ATTACKS)]


class Section(BaseModel):
    """Frozen, unknown fields forbidden, every number finite and of its type; the string under a field describes it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


class AggregatorConfig(Section):
    """How the votes of the groups become one update."""

    name: str | None = "d-median"
    """A pair of the paper (d-median, d-multi-krum, d-bulyan, d-signsgd), draco, or a plain rule over all votes."""
    a0: str | None = None
    """Rule within a vote group; overrides the one that `name` implies."""
    a1: str | None = None
    """Rule across the vote groups; overrides the one that `name` implies."""
    k: Count | None = None
    """Votes in a vote group, at most; overrides the one that `name` implies."""
    f: Natural | None = None
    """Bad votes to tolerate per step; unset: the worst case, floor(q / ((r+1)/2))."""
    pre: Annotated[tuple[str, ...], Strict(False)] = ()
    """Pre-aggregators, applied to the votes in this order."""
    options: dict[str, dict[str, int | float | str]] = {}
    """By name of a rule or pre-aggregator, its options: options.multi_krum.m = 3."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of the PS for aggregation; the result does not depend on them."""

    def why_not(self) -> str:
        """What of the options is not for a config to give; empty where there is nothing."""
        for name, options in self.options.items():
            if supplied := {"previous", "rng", "trusted"} & options.keys():
                return f"aggregator.options.{name}.{min(supplied)} is no number; the PS sees to it itself"
        return ""

    def create(self) -> Hierarchy:
        """The aggregation; raises AggregatorError where there is none of that name, or an option does not fit."""
        return create_hierarchy(
            self.name, a0=self.a0, a1=self.a1, k=self.k, pre=self.pre, options=self.options, threads=self.threads
        )


class AttackConfig(Section):
    """What the q Byzantine workers do, and which workers they are."""

    kind: AttackName = "reversed"
    """The attack, see docs/attacks.md; with q = 0 there is none."""
    placement: How = "random"
    """Who is Byzantine: random, drawn anew each step; fixed, drawn once; worst, (r+1)/2 in each of as many groups
    as q allows; spread, one in each group, then a second; group, whole groups. Where groups are redrawn, the last
    three have to commit before the draw, to a guess of them."""
    knowledge: Literal["colluders", "omniscient"] = "colluders"
    """What attacks that collude know: the honest gradients of the colluders' own files, or of all files."""
    scale: float | None = None
    """Strength, such as c of -c*g; what it means and its default are in docs/attacks.md. Unset: the default."""
    perturbation: Perturbation = "std"
    """Direction of min_max and min_sum: -std, -mean / |mean| (unit) or -sign(mean) of the known gradients."""
    seed: Seed = 0
    """Seed of the placement and of random attacks."""
    wait: Seconds = 10.0
    """Seconds that colluding workers wait for gradients before they go on with what they have."""


class OptimizerConfig(Section):
    """The update at the PS: any optimizer of torch.optim, on the model's own parameters."""

    name: str = "SGD"
    """Class in torch.optim."""
    lr: Positive = 0.1
    """Learning rate at the start."""
    momentum: Fraction = 0.0
    """Momentum, for an optimizer that has one; 0 is not passed on."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay, as the optimizer defines it; 0 is not passed on."""
    options: dict[str, Option] = {}
    """Further arguments of the optimizer, as torch.optim has them: nesterov = true, betas = [0.9, 0.98]."""
    schedule: Literal["constant", "step", "cosine"] = "constant"
    """Learning rate over the steps: constant; times gamma at each milestone; cosine down to 0 at the last."""
    milestones: Annotated[tuple[Count, ...], Strict(False)] = ()
    """Steps at which schedule = "step" multiplies the learning rate by gamma."""
    gamma: Positive = 0.1
    """Factor of schedule = "step"."""

    def why_not(self) -> str:
        """Which fields do not go together; empty where all do."""
        for name in ("lr", "momentum", "weight_decay"):
            if name in self.options and (given := getattr(self, name)):
                return f"optimizer.options.{name}: there is optimizer.{name} = {given} beside it; give one"
        if (self.schedule == "step") != bool(self.milestones):
            return (
                f'optimizer.milestones = {list(self.milestones)}, optimizer.schedule = "{self.schedule}": '
                'milestones go with schedule = "step", and it needs them'
            )
        return ""

    def create(self, task: "Task", seed: int, steps: int) -> "GlobalModel":
        """The PS's model of a task with this optimizer, for a run of so many steps.

        Raises:
            ConfigError: the optimizer does not exist, or does not take its arguments; the model is too large.
        """
        from detox.ps.model import GlobalModel  # which imports torch; commands that only start a job do not wait for it

        optional = {"momentum": self.momentum, "weight_decay": self.weight_decay}
        arguments = {"lr": self.lr, **{name: value for name, value in optional.items() if value}, **self.options}
        try:
            model = GlobalModel(
                task,
                seed=seed,
                steps=steps,
                optimizer=self.name,
                arguments=arguments,
                schedule=self.schedule,
                milestones=self.milestones,
                gamma=self.gamma,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
        size = 4 * (model.d + model.b)
        _check_length("weights", size, f"{model.d} parameters and {model.b} buffers: take a smaller model")
        return model


class DataConfig(Section):
    """Data heterogeneity: which training samples a file draws from."""

    split: Split = "iid"
    """iid: all of them. dirichlet, label: file j has a shard of its own, p/r shards of equal size. dirichlet: label
    proportions drawn from Dirichlet(alpha). label: the samples sorted by label, cut into pieces."""
    alpha: Annotated[float, Field(gt=0, le=1e6)] = 0.5
    """Concentration of dirichlet: near 0 one label per file; the greater, the more alike."""

    def create(self, task: "Task", name: str, count: int, size: int, seed: int) -> Files:
        """The samples of each step: `count` files of `size` samples, from shards where `split` asks for them.

        Raises:
            ConfigError: the task called `name` has no labels to split by, or fewer samples than there are files; a file
                is too large.
        """
        _check_length(
            "indices", Work.limit(size), f"a file has r * batch_size = {size} samples: take a smaller batch_size"
        )
        if self.split == "iid":
            return Files(count, size, task.train_size, seed)
        labels = task.train_labels
        if not isinstance(labels, np.ndarray) or labels.shape != (task.train_size,) or labels.dtype.kind not in "iu":
            raise ConfigError(
                f'data.split = "{self.split}" needs labels: task {name} has to set train_labels to those of its '
                f"training samples, an integer array of shape ({task.train_size},)"
            )
        if count > task.train_size:
            raise ConfigError(
                f'data.split = "{self.split}": {task.train_size} training samples cannot be cut into {count} shards'
            )
        shards = cut(labels, count, self.split, self.alpha, seed)
        return Files(count, size, task.train_size, seed, tuple(shards))


class CompressionConfig(Section):
    """Compression of gradients on their way to the PS: without loss (blosc), rounded before it, or to signs."""

    kind: Literal["float32", "bf16", "sign"] = "float32"
    """float32: every bit of the gradient. bf16: its entries rounded to bfloat16, which codec with bitshuffle then makes
    small. sign: one bit per entry, +1 for zero and NaN. Batch-norm statistics stay float32."""
    codec: Literal["none", "blosclz", "lz4", "lz4hc", "zlib", "zstd"] = "lz4"
    """Compressor; none sends the plain bytes."""
    filter: Literal["none", "shuffle", "bitshuffle"] = "bitshuffle"
    """Reordering before compression: of bytes or of bits."""
    level: Annotated[int, Field(ge=0, le=9)] = 1
    """Effort, 0 (none) to 9."""

    def create(self, d: int, b: int) -> Codec:
        """The codec of gradients with d parameters and b buffers; raises ConfigError where blosc cannot take them."""
        signs, rounded = (d if self.kind == kind else 0 for kind in ("sign", "bf16"))
        try:
            return Codec(d + b, self.codec, self.filter, self.level, signs, rounded)
        except ValueError as error:
            raise ConfigError(str(error)) from None


class TransportConfig(Section):
    """Deadlines and pace of the messages."""

    start_deadline: Seconds = 300.0
    """Seconds for all ranks to load their data and to pass the self-test."""
    deadline: Seconds = 60.0
    """Seconds that a step may take until the PS goes on with the votes it has."""
    fetch_deadline: Seconds = 20.0
    """Seconds for one gradient that was asked for, until the next of the majority is asked."""
    poll: Annotated[float, Field(gt=0, le=1)] = 0.0005
    """Seconds of sleep where nothing has arrived."""
    silence: Seconds = 600.0
    """Seconds without a word from the PS after which a worker's rank leaves."""


class QuarantineConfig(Section):
    """Leaving out workers that offend too often; groups are drawn from the rest, and q and f follow."""

    policy: Literal["never", "majority", "recompute"] = "never"
    """never. majority: dissents from strict majorities suffice; honest workers that are outvoted are false positives.
    recompute: the PS first computes a suspect's file itself, and only that convicts."""
    after: Count = 3
    """Offences (dissented, lied, equivocated, convicted) that make a worker due."""
    window: Count = 20
    """Steps in which they have to fall."""
    minimum: Natural = 0
    """Workers that are left in any case; never fewer than the aggregator needs."""

    def create(self) -> Quarantine:
        """The quarantine, before the first step."""
        return Quarantine(self.policy, self.after, self.window, LATE_STEPS, self.minimum)


class FaultConfig(Section):
    """Faults to inject, for tests and drills: these workers break down on purpose, beside the q Byzantine ones."""

    worker: Annotated[tuple[Natural, ...], Strict(False)] = ()
    """Workers with a fault; a fault of a whole rank (kill, stop, ...) takes the rank's other workers along."""
    kind: Annotated[tuple[FaultKind, ...], Strict(False)] = ()
    """What is wrong with each of them, in the same order; one kind serves them all."""
    first: Count = 2
    """First step with faults."""
    last: Natural = 0
    """Last step with faults; 0: the end."""
    every: Count = 1
    """Steps from one fault to the next."""
    seconds: Seconds = 2.0
    """How long stop, straggle, late and floods last."""

    def why_not(self, p: int) -> str:
        """What p workers do not have, and which fields do not go together; empty where all is well."""
        if strangers := [worker for worker in self.worker if worker >= p]:
            return f"fault.worker: {strangers[0]} is no worker, they are 0 to {p - 1}"
        if self.worker and len(self.kind) not in (1, len(self.worker)):
            kinds, workers = counted(len(self.kind), "kind"), counted(len(self.worker), "worker")
            return f"fault.kind: {kinds} for {workers}; one for each, or one"
        if self.kind and not self.worker:
            return "fault.kind without fault.worker: name the workers with the fault"
        if len(set(self.worker)) < len(self.worker):
            return "fault.worker: a worker is named twice; it has one fault at a time"
        if 0 < self.last < self.first:
            return f"fault.last = {self.last} is before fault.first = {self.first}"
        return ""

    def create(
        self, channel: Channel, codec: Codec, rank: int, ranks: Sequence[int], abort: Callable[[], None]
    ) -> Faults | None:
        """The faults of a rank's workers, around its channel; None where it has none.

        Args:
            channel: carries the rank's messages.
            codec: how gradients travel.
            rank: the rank.
            ranks: rank of each worker.
            abort: ends the rank the way that MPI has for it.
        """
        kinds = self.kind * len(self.worker) if len(self.kind) == 1 else self.kind
        own = {worker: kind for worker, kind in zip(self.worker, kinds, strict=True) if ranks[worker] == rank}
        if not own:
            return None
        return Faults(
            channel,
            codec,
            own,
            others=next((worker for worker, other in enumerate(ranks) if other != rank), len(ranks)),
            first=self.first,
            last=self.last,
            every=self.every,
            seconds=self.seconds,
            abort=abort,
        )


def _check_length(what: str, size: int, because: str) -> None:
    """Raises ConfigError where a message of so many bytes cannot be sent."""
    if size > LONGEST:
        raise ConfigError(f"{what} of {size} bytes are too long for a message of MPI, at most {LONGEST}: {because}")
