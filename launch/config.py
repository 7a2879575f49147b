"""The config of a run: TOML, checked by frozen pydantic models, overridden from the command line."""

import tomllib
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tomli_w
import tyro
from pydantic import Field, ValidationError

from detox.aggregators import AggregatorError, Hierarchy, create_hierarchy
from detox.assignment import SCHEMES
from detox.assignment.schemes import Groups
from detox.launch.fields import ConfigError as ConfigError
from detox.launch.fields import Count, Fraction, Natural, Seed, in_words
from detox.launch.identity import Output, RunName, digest, is_name
from detox.launch.sections import AggregatorConfig as AggregatorConfig
from detox.launch.sections import (
    AttackConfig,
    CompressionConfig,
    DataConfig,
    FaultConfig,
    OptimizerConfig,
    QuarantineConfig,
    Section,
    TransportConfig,
)
from detox.ps.ballots import VOTES, FullBallot, ToleranceBallot
from detox.ps.ballots.ballot import CreateBallot
from detox.worker.attacks import ATTACKS

_SAMPLES = 2**31 - 1  # of a step; with 2^32 steps, what they all draw is counted in 64 bits


class Config(Section):
    """One run."""

    name: RunName = "run"
    """Names the run's folder, with a hash of the config behind it; unset: the config file's name."""
    task: str = "digits"
    """digits, mnist, fashion-mnist, cifar10, cifar100, or my_module:MyTask for one of your own."""
    model: str | None = None
    """softmax, mlp, lenet, resnet18 or vgg13; unset: the task's default."""
    data_dir: str | None = None
    """Folder with the data set's files; unset: the usual places."""
    p: Annotated[int, Field(ge=1, le=2**16)] = 15
    """Workers."""
    q: Natural = 0
    """Byzantine workers among them."""
    r: Count = 3
    """Workers in a group, odd; they compute the same gradient. 1: no groups, the vanilla system."""
    batch_size: Count = 32
    """Samples a worker, b/p: a step draws p * batch_size, a group's file has r * batch_size of them."""
    steps: Count = 300
    """Updates to make."""
    seed: Seed = 0
    """Seed of the initial weights, the files, the augmentation and fixed or random groups."""
    secret_seed: Annotated[int, Field(ge=0, lt=2**128)] | None = None
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
    worker_momentum: Fraction = 0.0
    """beta of m <- beta m + (1 - beta) g, which workers send in place of the gradient g; 0: none. With r > 1 it needs
    groups that stay as they are, and a worker that misses a step dissents from then on."""
    share_compute: bool = False
    """Let the workers of one rank that hold the same file compute it once: quick, but they then fail alike."""
    on_tie: Literal["drop", "recompute"] = "drop"
    """Where a group has no vote, at the deadline at the latest: go on without it, or compute its file at the PS,
    which settles the matter and convicts."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    """Where workers and PS compute: cpu, cuda or cuda:N."""
    output: Output = "runs"
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
        self._check_fault()
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
        self._check_optimizer()
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
        if why := SCHEMES[self.groups].why_not(self.p, self.r):
            raise ConfigError(why)
        if self.p * self.batch_size > _SAMPLES:
            raise ConfigError(
                f"batch_size = {self.batch_size} for p = {self.p} workers: a step has at most {_SAMPLES} samples"
            )
        if self.q > self.p:
            raise ConfigError(f"q = {self.q} Byzantine workers, but there are only p = {self.p} workers")

    def _check_fault(self) -> None:
        if strangers := [worker for worker in self.fault.worker if worker >= self.p]:
            raise ConfigError(f"fault.worker: {strangers[0]} is no worker, they are 0 to {self.p - 1}")
        if self.fault.worker and len(self.fault.kind) not in (1, len(self.fault.worker)):
            raise ConfigError(
                f"fault.kind: {len(self.fault.kind)} kinds for {len(self.fault.worker)} workers; one for each, or one"
            )
        if self.fault.kind and not self.fault.worker:
            raise ConfigError("fault.kind without fault.worker: name the workers with the fault")
        if len(set(self.fault.worker)) < len(self.fault.worker):
            raise ConfigError("fault.worker: a worker is named twice; it has one fault at a time")
        if 0 < self.fault.last < self.fault.first:
            raise ConfigError(f"fault.last = {self.fault.last} is before fault.first = {self.fault.first}")

    def _check_optimizer(self) -> None:
        section = self.optimizer
        for name in ("lr", "momentum", "weight_decay"):
            if name in section.options and (given := getattr(section, name)):
                raise ConfigError(f"optimizer.options.{name}: there is optimizer.{name} = {given} beside it; give one")
        if (section.schedule == "step") != bool(section.milestones):
            raise ConfigError(
                f'optimizer.milestones = {list(section.milestones)}, optimizer.schedule = "{section.schedule}": '
                'milestones go with schedule = "step", and it needs them'
            )

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
        return self.create_scheme().worst_case(self.q, self.votes)

    def create_scheme(self, secret_seed: int = 0, classes: Sequence[Sequence[int]] = ()) -> Groups:
        """Who computes which file.

        Args:
            secret_seed: of groups that are redrawn in secret.
            classes: workers of which only those of one class share a group; empty: all may.
        """
        kind = SCHEMES[self.groups]
        return kind(self.r, secret_seed if kind.secret else self.seed, classes)

    def create_ballot(self, d: int, words: int = 0) -> CreateBallot:
        """Makes the vote on a file; where a file has one holder, its gradient is the vote."""
        if self.vote == "tolerance":
            return partial(ToleranceBallot, tolerance=self.vote_tolerance, d=d, words=words)
        return FullBallot if self.r == 1 else VOTES[self.vote]

    @property
    def compares_bits(self) -> bool:
        """Whether workers have to compute equal bits to agree."""
        return self.r > 1 and self.vote != "tolerance"

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
        """Hash of all that decides the result, see detox.launch.identity."""
        return digest(self)

    @property
    def folder(self) -> Path:
        """The run's folder; a leading ~ of `output` is the home folder."""
        return Path(self.output).expanduser() / f"{self.name}-{self.digest}"

    def toml(self, secret: bool = False) -> str:
        """The resolved config as TOML; fields that are unset are left out, and the secret seed unless asked for."""
        left_out = None if secret else {"secret_seed"}
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True, exclude=left_out))

    def ranks(self) -> int | None:
        """Ranks that the run needs, PS included; None where any number does."""
        return None if self.workers_per_rank is None else 1 + -(-self.p // self.workers_per_rank)


def read_config(path: str, overrides: list[str]) -> Config:
    """The config in the TOML file `path` with the command line's `--field value` on top.

    Raises:
        ConfigError: no such file, not TOML, an unknown field, a value out of range.
        SystemExit: after --help, or after an error in the overrides, which tyro has printed.
    """
    fields = read_toml(path)
    if "name" not in fields and (is_name(Path(path).stem) or not any(_names(word) for word in overrides)):
        fields["name"] = Path(path).stem
    config = override(_parse(fields, path), overrides)
    config.check()
    return config


def _names(word: str) -> bool:
    return word.partition("=")[0] == "--name"


def config_of(path: str) -> Config:
    """The config in a TOML file as it stands, whether or not it can be run; raises ConfigError as read_config does."""
    return _parse({"name": Path(path).stem, **read_toml(path)}, path)


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
    """A TOML file: UTF-8, whatever the locale, with or without a byte order mark.

    Raises:
        ConfigError: no such file, or not TOML.
    """
    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(f"{path} is no file")
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8, which TOML is, at byte {error.start}: {error.reason}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not TOML that can be read: nested too deep") from None
    except ValueError as error:  # a TOMLDecodeError, or an integer of thousands of digits, or a NUL in the path
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _parse(fields: dict[str, Any], where: str) -> Config:
    try:
        return Config(**fields)
    except ValidationError as error:
        raise ConfigError(in_words(where, error, Config)) from None


def override(config: Config, overrides: list[str]) -> Config:
    """The config with `--field value` on top; raises SystemExit after --help or an error, both printed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The field `optimizer.options`", UserWarning)  # for a list in the TOML file
        return tyro.cli(Config, prog="detox-ps train CONFIG.toml", args=overrides, default=config)


def known_secret(config: Config) -> int | None:
    """The seed of what no worker may foresee, as far as the config says it."""
    return config.seed if config.secret_seed is None and config.groups != "redrawn" else config.secret_seed


def secret_seed(config: Config) -> int:
    """The seed of what no worker may foresee, drawn now if the config leaves it open."""
    if (known := known_secret(config)) is not None:
        return known
    entropy = np.random.SeedSequence().entropy
    assert isinstance(entropy, int)
    return entropy
