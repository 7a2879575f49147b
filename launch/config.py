"""The config of a run: TOML, checked by frozen pydantic models, overridden from the command line."""

import hashlib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tomli_w
import tyro
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detox.aggregators import AggregatorError, Hierarchy, create_hierarchy
from detox.ps.assignment import worst_case
from detox.ps.shards import Split
from detox.wire import Codec
from detox.worker.attacks import ATTACKS
from detox.worker.faults import FaultKind
from detox.worker.knowledge import Perturbation
from detox.worker.placement import How

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
if TYPE_CHECKING:
    AttackName = str
else:
    AttackName = Literal[tuple(ATTACKS)]


class ConfigError(ValueError):
    """A config that cannot be run; the message names the field and says what to do."""


class Section(BaseModel):
    """Frozen, unknown fields forbidden; the string under a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


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
    """Bad votes to withstand a step; unset: the worst case, floor(q / ((r+1)/2))."""
    pre: tuple[str, ...] = ()
    """Pre-aggregators, applied to the votes in this order."""
    options: dict[str, dict[str, bool | int | float | str]] = {}
    """By name of a rule or pre-aggregator, its options: options.multi_krum.m = 3."""
    threads: Count = 1
    """Threads of the PS for aggregation; the result does not depend on them."""


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
    seed: Natural = 0
    """Seed of the placement and of random attacks."""
    wait: Positive = 10.0
    """Seconds that colluding workers wait for gradients before they go on with what they have."""


class OptimizerConfig(Section):
    """The update at the PS: any optimizer of torch.optim, on the model's own parameters."""

    name: str = "SGD"
    """Class in torch.optim."""
    lr: Positive = 0.1
    """Learning rate at the start."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum, for an optimizer that has one; 0 is not passed on."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay, as the optimizer defines it; 0 is not passed on."""
    options: dict[str, float | bool] = {}
    """Further arguments of the optimizer, such as nesterov = true."""
    schedule: Literal["constant", "step", "cosine"] = "constant"
    """Learning rate over the steps: constant; times gamma at each milestone; cosine down to 0 at the last."""
    milestones: tuple[Count, ...] = ()
    """Steps at which schedule = "step" multiplies the learning rate by gamma."""
    gamma: Positive = 0.1
    """Factor of schedule = "step"."""


class DataConfig(Section):
    """Data heterogeneity: which training samples a file draws from."""

    split: Split = "iid"
    """iid: all of them. dirichlet, label: file j has a shard of its own, p/r shards of equal size. dirichlet: label
    proportions drawn from Dirichlet(alpha). label: the samples sorted by label, cut into pieces."""
    alpha: Annotated[float, Field(gt=0, le=1e6)] = 0.5
    """Concentration of dirichlet: near 0 one label a file; the greater, the more alike."""


class CompressionConfig(Section):
    """Compression of gradients on their way to the PS: without loss (blosc), rounded before it, or to signs."""

    kind: Literal["float32", "bf16", "sign"] = "float32"
    """float32: every bit of the gradient. bf16: its entries rounded to bfloat16, which codec with bitshuffle then makes
    small. sign: one bit an entry, +1 for zero and NaN. Batch-norm statistics stay float32."""
    codec: Literal["none", "blosclz", "lz4", "lz4hc", "zlib", "zstd"] = "lz4"
    """Compressor; none sends the plain bytes."""
    filter: Literal["none", "shuffle", "bitshuffle"] = "bitshuffle"
    """Reordering before compression: of bytes or of bits."""
    level: Annotated[int, Field(ge=0, le=9)] = 1
    """Effort, 0 (none) to 9."""

    def create(self, d: int, b: int) -> Codec:
        """The codec of gradients with d parameters and b buffers; raises ValueError where blosc cannot take them."""
        signs, rounded = (d if self.kind == kind else 0 for kind in ("sign", "bf16"))
        return Codec(d + b, self.codec, self.filter, self.level, signs, rounded)


class TransportConfig(Section):
    """Deadlines and pace of the messages."""

    start_deadline: Positive = 300.0
    """Seconds for all ranks to load their data and to pass the self-test."""
    deadline: Positive = 60.0
    """Seconds that a step may take until the PS goes on with the votes it has."""
    fetch_deadline: Positive = 20.0
    """Seconds for one gradient that was asked for, until the next of the majority is asked."""
    poll: Positive = 0.0005
    """Seconds of sleep where nothing has arrived."""
    silence: Positive = 600.0
    """Seconds without a word from the PS after which a worker's rank leaves."""


class QuarantineConfig(Section):
    """Leaving out workers that offend too often; groups are drawn from the rest, and q and f follow."""

    policy: Literal["never", "majority", "recompute"] = "never"
    """never. majority: dissents from strict majorities suffice; where liars win groups, it can hit the honest.
    recompute: the PS first computes a suspect's file itself, and only that convicts."""
    after: Count = 3
    """Offences (dissented, lied, equivocated, convicted) that make a worker due."""
    window: Count = 20
    """Steps in which they have to fall."""
    minimum: Natural = 0
    """Workers that are left in any case; never fewer than the aggregator needs."""


class FaultConfig(Section):
    """Faults to inject, for tests and drills: the workers named here break down on purpose, beside the q liars."""

    worker: tuple[Natural, ...] = ()
    """Workers with a fault; a fault of a whole rank (kill, stop, ...) takes the rank's other workers along."""
    kind: tuple[FaultKind, ...] = ()
    """What is wrong with each of them, in the same order; one kind serves them all."""
    first: Count = 2
    """First step with faults."""
    last: Natural = 0
    """Last step with faults; 0: the end."""
    every: Count = 1
    """Steps from one fault to the next."""
    seconds: Positive = 2.0
    """How long stop, straggle, late and floods last."""


class Config(Section):
    """One run."""

    name: str = "run"
    """Names the run's folder, with a hash of the config behind it; unset: the config file's name."""
    task: str = "digits"
    """digits, mnist, fashion-mnist, cifar10, cifar100, or my_module:MyTask for one of your own."""
    model: str | None = None
    """softmax, mlp, lenet, resnet18 or vgg13; unset: the task's default."""
    data_dir: str | None = None
    """Folder with the data set's files; unset: the usual places."""
    p: Count = 15
    """Workers."""
    q: Natural = 0
    """Byzantine workers among them."""
    r: Count = 3
    """Workers in a group, odd; they compute the same gradient. 1: no groups, the vanilla system."""
    batch_size: Count = 32
    """Samples a worker, b/p: a step draws p * batch_size, a group's file has r * batch_size of them."""
    steps: Count = 300
    """Updates to make."""
    seed: Natural = 0
    """Seed of the initial weights, the files, the augmentation and fixed or random groups."""
    secret_seed: Natural | None = None
    """Seed of what no worker may foresee: redrawn groups and the shuffle of the votes. Unset: `seed` where
    groups are fixed or random, and fresh from the operating system where they are redrawn (kept in the
    run's folder)."""
    vote: Literal["digest", "full", "tolerance"] = "digest"
    """digest: workers claim a BLAKE3 digest, one copy a group travels. full: every copy travels and is
    compared bit by bit (the paper's protocol). tolerance: every copy travels, and copies that are nearly equal
    agree, for hosts that do not compute the same bits; see docs/threat-model.md."""
    vote_tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    """vote = "tolerance": the greatest |a - b| / max(|a|, |b|) of two copies that agree; detox-ps doctor measures
    what these hosts need."""
    groups: Literal["fixed", "random", "redrawn"] = "redrawn"
    """fixed: consecutive ids. random: drawn once. redrawn: drawn in secret each step."""
    groups_within: Literal["all", "class"] = "all"
    """all: any workers share a group. class: only workers whose gradients had equal bits in the self-test, for hosts of
    several kinds; those that remain of a class have nothing to do. See docs/cluster.md."""
    workers_per_rank: Count | None = None
    """Workers that one MPI rank hosts; unset: p spread over the ranks that mpirun gives."""
    worker_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """beta of m <- beta m + (1 - beta) g, which workers send in place of the gradient g; 0: none. With r > 1 it needs
    groups that stay as they are, and a worker that misses a step dissents from then on."""
    share_compute: bool = False
    """Let the workers of one rank that hold the same file compute it once: quick, but they then fail alike."""
    on_tie: Literal["drop", "recompute"] = "drop"
    """Where a group has no vote, at the deadline at the latest: go on without it, or compute its file at the PS,
    which settles the matter and convicts."""
    device: str = "cpu"
    """Where workers and PS compute: cpu, cuda or cuda:N."""
    output: str = "runs"
    """Folder in which the run's folder is made."""
    log_every: Count = 10
    """Steps between two lines on the terminal."""
    eval_every: Count = 50
    """Steps between two evaluations of the PS's model on the test data."""
    checkpoint_every: Count = 100
    """Steps between two checkpoints, from which an interrupted run is resumed."""
    checkpoints_kept: Count = 2
    """Checkpoints that are kept, the newest."""
    aggregator: AggregatorConfig = AggregatorConfig()
    attack: AttackConfig = AttackConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    compression: CompressionConfig = CompressionConfig()
    transport: TransportConfig = TransportConfig()
    quarantine: QuarantineConfig = QuarantineConfig()
    fault: FaultConfig = FaultConfig()

    def check(self) -> None:
        """Checks what one field alone cannot tell.

        Raises:
            ConfigError: p, q and r do not fit together, or the aggregator cannot stand so many bad votes.
        """
        self.check_sizes()
        if strangers := [worker for worker in self.fault.worker if worker >= self.p]:
            raise ConfigError(f"fault.worker: {strangers[0]} is no worker, they are 0 to {self.p - 1}")
        if self.fault.worker and len(self.fault.kind) not in (1, len(self.fault.worker)):
            raise ConfigError(
                f"fault.kind: {len(self.fault.kind)} kinds for {len(self.fault.worker)} workers; one for each, or one"
            )
        if self.worker_momentum:
            self._check_worker_momentum()
        if self.vote == "tolerance" and self.recomputes:
            raise ConfigError(
                'vote = "tolerance": the PS computes other bits than workers may, so it convicts nobody; leave '
                'recomputation off (on_tie = "drop", quarantine.policy not recompute)'
            )
        if self.vote == "tolerance" and self.compression.kind != "float32":
            raise ConfigError(
                f'vote = "tolerance": what was nearly equal is not so as {self.compression.kind}, and honest workers '
                'would dissent; set compression.kind = "float32"'
            )
        if self.vote == "tolerance" and self.aggregator.name == "draco":
            raise ConfigError(
                'vote = "tolerance": one liar in a group can be its vote, within the bound, and draco stands no bad '
                "vote; give another aggregator"
            )
        if self.aggregator.name == "draco" and self.r < 2 * self.q + 1:
            raise ConfigError(
                f"aggregator: draco needs groups of r >= 2q + 1 = {2 * self.q + 1} workers, so that no group can be "
                f"won; got r = {self.r}, q = {self.q}"
            )
        for name, options in self.aggregator.options.items():
            if supplied := {"previous", "rng", "trusted"} & options.keys():
                raise ConfigError(f"aggregator.options.{name}.{min(supplied)} is no number; the PS sees to it itself")
        try:
            self.hierarchy.rehearse(self.votes, self.f)
        except AggregatorError as error:
            assumed = "" if self.aggregator.f is not None else " (f is the worst case of q; aggregator.f sets another)"
            raise ConfigError(f"aggregator: {error}{assumed}") from None

    def check_sizes(self) -> None:
        """Raises ConfigError where p, q and r do not fit together."""
        if self.r % 2 == 0:
            raise ConfigError(f"r = {self.r} is even; a majority vote needs odd groups: r = {self.r + 1}")
        if self.p % self.r:
            below, above = self.p - self.p % self.r, self.p + self.r - self.p % self.r
            nearest = below if below and self.p - below <= above - self.p else above
            raise ConfigError(
                f"p = {self.p} workers cannot be split into groups of r = {self.r}; the nearest p is {nearest}"
            )
        if self.q > self.p:
            raise ConfigError(f"q = {self.q} Byzantine workers, but there are only p = {self.p} workers")

    def _check_worker_momentum(self) -> None:
        """Workers of a group must have computed the same files in all steps, for they have to send equal bits."""
        if self.r > 1 and self.groups == "redrawn":
            raise ConfigError(
                f"worker_momentum with r = {self.r} needs groups that stay: redrawn groups bring workers together "
                'whose pasts differ, and so what they send; set groups = "fixed" or "random", or r = 1'
            )
        if self.data.split != "iid" and self.groups == "redrawn":
            raise ConfigError(
                "worker_momentum: with redrawn groups workers change files, and so shards: the momentum of each would "
                f'be of all shards; with data.split = "{self.data.split}" set groups = "fixed" or "random"'
            )
        if self.recomputes:
            raise ConfigError(
                "worker_momentum: the PS cannot compute what a worker sends, for it depends on the worker's past; "
                'leave recomputation off (on_tie = "drop", quarantine.policy not recompute)'
            )
        if self.q and self.r > 1 and self.attack.placement == "random" and ATTACKS[self.attack.kind].data is not None:
            raise ConfigError(
                f"worker_momentum: attack.kind = {self.attack.kind} leaves its traces in the momentum, and with "
                'placement = "random" soon in that of every worker; give another attack.placement'
            )
        if self.quarantine.policy != "never":
            raise ConfigError('worker_momentum needs quarantine.policy = "never": whoever leaves changes the groups')

    @property
    def votes(self) -> int:
        """Groups, and so the votes of a step: p / r."""
        return self.p // self.r

    @property
    def f(self) -> int:
        """Bad votes that the aggregator is to withstand in a step."""
        if self.aggregator.f is not None:
            return self.aggregator.f
        return worst_case(self.q, self.r, self.votes)

    @property
    def recomputes(self) -> bool:
        """Whether the PS may have to compute gradients itself."""
        return self.on_tie == "recompute" or self.quarantine.policy == "recompute"

    @property
    def hierarchy(self) -> Hierarchy:
        """The aggregation that `aggregator` names."""
        section = self.aggregator
        return create_hierarchy(
            section.name,
            a0=section.a0,
            a1=section.a1,
            k=section.k,
            pre=section.pre,
            options=section.options,
            threads=section.threads,
        )

    @property
    def digest(self) -> str:
        """Hash of all that decides the result: the whole config but `output`."""
        text = self.model_dump_json(exclude={"output"})
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.output) / f"{self.name}-{self.digest}"

    def toml(self) -> str:
        """The resolved config as TOML; fields that are unset are left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def ranks(self) -> int | None:
        """Ranks that the run needs, PS included; None where any number does."""
        return None if self.workers_per_rank is None else 1 + -(-self.p // self.workers_per_rank)


def read_config(path: str, overrides: list[str]) -> Config:
    """The config in the TOML file `path` with the command line's `--field value` on top.

    Raises:
        ConfigError: no such file, not TOML, an unknown field, a value out of range.
        SystemExit: after --help, or after an error in the overrides, which tyro has printed.
    """
    config = override(_parse({"name": Path(path).stem, **read_toml(path)}, path), overrides)
    config.check()
    return config


def config_from(fields: dict[str, Any], where: str) -> Config:
    """The config with these fields; errors begin with `where`.

    Raises:
        ConfigError: as read_config does.
    """
    config = _parse(fields, where)
    try:
        config.check()
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def read_toml(path: str) -> dict[str, Any]:
    """A TOML file.

    Raises:
        ConfigError: no such file, or not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _parse(fields: dict[str, Any], where: str) -> Config:
    try:
        return Config(**fields)
    except ValidationError as error:
        raise ConfigError(in_words(where, error)) from None


def override(config: Config, overrides: list[str]) -> Config:
    """The config with `--field value` on top; raises SystemExit after --help or an error, both printed."""
    return tyro.cli(Config, prog="detox-ps train CONFIG.toml", args=overrides, default=config)


def in_words(where: str, error: ValidationError) -> str:
    """A line for each field that is wrong."""
    return "\n".join(_line(where, item) for item in error.errors())


def _line(path: str, item: Any) -> str:
    field = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{path}: {field}: there is no such field"
    if item["type"] == "missing":
        return f"{path}: {field} is missing"
    message = item["msg"].removeprefix("Value error, ")
    return f"{path}: {field}: {message}, got {item['input']!r}" if field else f"{path}: {message}"


def secret_seed(config: Config) -> int:
    """The seed of what no worker may foresee, drawn now if the config leaves it open."""
    if config.secret_seed is not None:
        return config.secret_seed
    if config.groups != "redrawn":
        return config.seed
    entropy = np.random.SeedSequence().entropy
    assert isinstance(entropy, int)
    return entropy
