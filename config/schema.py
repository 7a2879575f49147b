"""The config of a run: its fields, and what follows from them."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomli_w
from pydantic import Field

from detox.aggregators import Hierarchy
from detox.assignment import SCHEMES
from detox.assignment.designs import Design
from detox.assignment.schemes import AuditedFiles, Scheme
from detox.config.defences import AggregatorConfig, AuditConfig, ForensicsConfig, QuarantineConfig
from detox.config.fields import ConfigError, Count, Fraction, Natural, Section, Seed
from detox.config.identity import Output, RunName, deciding, identity_of
from detox.config.messages import CompressionConfig, TransportConfig
from detox.config.threats import AttackConfig, FaultConfig
from detox.config.training import DataConfig, OptimizerConfig
from detox.ps.ballots import VOTES, FullBallot, ToleranceBallot
from detox.ps.ballots.ballot import CreateBallot
from detox.ps.best import Best, Direction
from detox.ps.quarantine import Quarantine
from detox.ps.round import LATE_STEPS
from detox.ps.trust import Trust
from detox.tasks.computing import Computing
from detox.tasks.samples import Files

if TYPE_CHECKING:
    from detox.ps.model import GlobalModel
    from detox.tasks import Task

    SchemeName = str
    VoteName = str
else:
    SchemeName = Literal[tuple(SCHEMES)]
    VoteName = Literal[tuple(VOTES)]


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
    """Samples per worker, b/p: a file has r * batch_size of them, p * batch_size in a step; with lazy copies a file has
    (r+1)/2 * batch_size, which in a step is as many where (r+1)/2 divides p; with a design the f files of a step have
    p * batch_size / f each, rounded down."""
    copies: Literal["all", "lazy"] = "all"
    """all: the r holders of a file compute it at once. lazy: (r+1)/2 of them do, and the next one where these disagree
    or one is late. So a step has p / ((r+1)/2) files in place of p/r, each of fewer samples. A vote is bad as often;
    where all that are asked first lie alike nobody sees it: see audit.ps."""
    micro_batch_size: Count | None = None
    """Samples of a file in one forward and backward pass, at most, where memory is short: the gradients of a file are
    summed in its order, which gives a group equal bits. Unset: a file at once."""
    autocast: Literal["none", "bf16"] = "none"
    """bf16: forward passes of the training compute in bfloat16 what torch.autocast does; weights, gradients and
    evaluations stay float32. For GPUs: on a CPU, held to AVX2 so that bits are equal, it takes longer than float32."""
    steps: Count = 300
    """Updates to make."""
    seed: Seed = 0
    """Seed of the initial weights, the files, the augmentation and fixed or random groups."""
    init: str | None = None
    """File of weights to start from, as for fine-tuning: safetensors, or what torch.load(weights_only=True) takes,
    under the names of the model's state_dict(). The PS and detox-ps launch read it; its content names the run."""
    secret_seed: Annotated[int, Field(ge=0, lt=2**128)] | None = None
    """Seed of what no worker may foresee: redrawn groups, audits and the shuffle of the votes. Unset: `seed` where
    groups are fixed or random and nothing is audited, and else fresh from the operating system (kept in the run's
    folder)."""
    vote: VoteName = "digest"
    """digest: workers claim a BLAKE3 digest, one copy per group travels. full: every copy travels and is
    compared bit by bit (the paper's protocol). tolerance: every copy travels, and copies that are nearly equal
    agree, for hosts that do not compute the same bits; see docs/threat-model.md."""
    vote_tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    """vote = "tolerance": the greatest |a - b| / max(|a|, |b|) of two copies that agree; detox-ps doctor measures
    what these hosts need."""
    groups: SchemeName = "redrawn"
    """fixed: consecutive ids. random: drawn once. redrawn: drawn in secret each step. mols, ramanujan, steiner:
    designs, in which a worker holds several files, smaller ones, and shares no more than one of them with any other:
    for where Byzantine workers know who holds what; see docs/assignments.md."""
    groups_redrawn: bool = False
    """mols, ramanujan, steiner: whether workers change places in secret each step."""
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
    """Where workers and PS compute: cpu; cuda, each rank on a GPU of its host, taking turns where ranks are more than
    GPUs; or cuda:N, all on their host's GPU N."""
    output: Output = "runs"
    """Folder in which the run's folder is made."""
    log_every: Count = 10
    """Steps between two lines on the terminal."""
    eval_every: Count = 50
    """Steps between two evaluations of the PS's model on the test data."""
    best: str | None = None
    """Score of `evaluate` by which the best evaluation is told, whose weights are kept in best.safetensors; unset:
    accuracy where there is one, else loss."""
    best_is: Direction | None = None
    """Whether a higher or a lower score is better; unset: as is known of usual names
    (accuracy, r2, ..., loss, perplexity, ...); others need it."""
    patience: Natural = 0
    """Evaluations in a row without a better one after which the run ends, before `steps`; 0: it makes them all."""
    checkpoint_every: Count = 100
    """Steps between two checkpoints, from which an interrupted run is resumed."""
    chain_every: Natural | None = None
    """Steps from one line to the next of chain.jsonl: digests of weights, votes and update, by which detox-ps verify
    checks the run. 0: there is none. Unset: 1 where votes are on digests, which are these; 10 where whole copies travel
    and the PS has to hash the votes."""
    metrics: str | None = None
    """my_module:log, a function of your own: log(step, numbers) is called at the PS after each step, with scores where
    there was an evaluation. See docs/terminal.md."""
    checkpoints_kept: Count = 2
    """Checkpoints that are kept, the newest."""
    aggregator: AggregatorConfig = AggregatorConfig()
    attack: AttackConfig = AttackConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    compression: CompressionConfig = CompressionConfig()
    transport: TransportConfig = TransportConfig()
    quarantine: QuarantineConfig = QuarantineConfig()
    audit: AuditConfig = AuditConfig()
    forensics: ForensicsConfig = ForensicsConfig()
    fault: FaultConfig = FaultConfig()

    @property
    def votes(self) -> int:
        """Files, and so votes per step: p/r, p / ((r+1)/2) where copies are lazy, less the auditors, or a design's."""
        return SCHEMES[self.groups].files(self.p, self.r, self.copies == "lazy") - self.audit.workers

    @property
    def files_per_worker(self) -> int:
        """Files that a worker is asked for at once."""
        return self.votes * self.r // self.p if self.designed else 1

    @property
    def designed(self) -> bool:
        """Whether the files are those of a design, of which a worker holds several."""
        return issubclass(SCHEMES[self.groups], Design)

    @property
    def redrawn(self) -> bool:
        """Whether who holds which file is drawn in secret each step."""
        return self.groups == "redrawn" or self.groups_redrawn

    @property
    def most_files(self) -> int:
        """Files in a step at most: as many as votes, or as workers, where those that are trusted need no auditor."""
        return self.p if self.audit.trust == "earned" else self.votes

    @property
    def copies_at_first(self) -> int:
        """Workers that are asked for a file at once."""
        return (self.r + 1) // 2 if self.copies == "lazy" else self.r

    @property
    def file_size(self) -> int:
        """Samples in a file."""
        return self.p * self.batch_size // self.votes if self.designed else self.copies_at_first * self.batch_size

    @property
    def f(self) -> int:
        """Bad votes per step that the aggregator has to tolerate."""
        if self.aggregator.f is not None:
            return self.aggregator.f
        return self.create_scheme().worst_case(self.q, self.votes)

    def create_scheme(
        self,
        secret_seed: int = 0,
        classes: Sequence[Sequence[int]] = (),
        chance: Callable[[int, int], float] | None = None,
    ) -> Scheme:
        """Who computes which file: the scheme that `groups` names, or files with auditors.

        Args:
            secret_seed: seed of groups that are redrawn in secret.
            classes: workers of which only those of one class share a group; empty: all may.
            chance: the probability that a worker is to be audited in a step; see AuditedFiles.
        """
        if self.audit.workers:
            return AuditedFiles(self.audit.workers, secret_seed, chance)
        kind = SCHEMES[self.groups]
        if issubclass(kind, Design):
            return kind(self.p, self.r, secret_seed if self.groups_redrawn else None)
        return kind(self.r, secret_seed if kind.secret else self.seed, classes, self.copies == "lazy")

    def create_ballot(self, d: int, words: int = 0) -> CreateBallot:
        """What makes the ballot of a file, in the mode that `vote` names; a single holder's gradient is the vote.

        Args:
            d: entries of the gradient in a vector.
            words: entries of exact buffers at its end.
        """
        if self.vote == "tolerance":
            return partial(ToleranceBallot, tolerance=self.vote_tolerance, d=d, words=words)
        return FullBallot if self.r == 1 else VOTES[self.vote]

    def create_task(self) -> "Task":
        """The task, with its data loaded; see detox.tasks.create_task for what it raises."""
        from detox.tasks import create_task  # later, as commands that only start a job need no torch

        return create_task(self.task, model=self.model, data_dir=self.data_dir, device=self.device)

    def create_model(self, task: "Task") -> "GlobalModel":
        """The PS's model, with the weights of `init`; see OptimizerConfig.create.

        Raises:
            WeightsError, ConfigError: the file cannot be used, or is of another model.
        """
        model = self.optimizer.create(task, self.seed, self.steps, self.computing)
        if self.init is not None:
            from detox.ps.weights import read_weights  # later too

            tensors = read_weights(Path(self.init).expanduser())
            try:
                model.start_from(tensors)
            except ValueError as error:
                raise ConfigError(
                    f"{self.init} is of another model: it {error}; to start from a part of it, load that in build_model"
                ) from None
        return model

    @property
    def computing(self) -> Computing:
        """How PS and workers compute gradients."""
        return Computing(self.micro_batch_size, self.autocast == "bf16")

    def create_files(self, task: "Task") -> Files:
        """The samples of each step, see DataConfig.create."""
        return self.data.create(task, self.task, self.most_files, self.file_size, self.seed)

    def create_best(self) -> Best:
        """What tells the best evaluation."""
        return Best(self.best, self.best_is)

    def check_metrics(self, metrics: Iterable[str]) -> None:
        """Raises ConfigError where `best` is none of what the task's evaluate returns."""
        if self.best is not None and self.best not in metrics:
            raise ConfigError(f'best = "{self.best}": the task\'s evaluate returns {", ".join(metrics)}')

    @property
    def compares_bits(self) -> bool:
        """Whether workers have to compute equal bits to agree."""
        return (self.r > 1 or self.audit.workers > 0) and self.vote != "tolerance"

    @property
    def chained(self) -> int:
        """What chain_every comes to."""
        if self.chain_every is not None:
            return self.chain_every
        return 1 if self.vote == "digest" and self.r > 1 else 10

    @property
    def recomputes(self) -> bool:
        """Whether the PS may have to compute gradients itself."""
        return self.on_tie == "recompute" or self.quarantine.policy == "recompute" or self.audit.most > 0

    @property
    def quarantine_policy(self) -> Literal["never", "graph", "majority", "recompute"]:
        """What quarantine.policy comes to: auto is graph where that is sound and can find anybody, else never."""
        if self.quarantine.policy != "auto":
            return self.quarantine.policy
        return "never" if self.q == 0 or unsound(self) else "graph"

    def create_trust(self) -> Trust | None:
        """Who is to be audited how often, before the first step; None where trust is not to be earned."""
        return Trust(self.p, LATE_STEPS) if self.audit.trust == "earned" else None

    def create_quarantine(self) -> Quarantine:
        """The quarantine, before the first step."""
        return self.quarantine.create(self.quarantine_policy, self.q)

    @property
    def hierarchy(self) -> Hierarchy:
        """The aggregation that the section `aggregator` describes.

        Raises:
            AggregatorError: it names no such rule or option.
        """
        return self.aggregator.create()

    @property
    def identity(self) -> str:
        """Hash of the fields that decide the result, 12 hexadecimal digits; see detox.config.identity."""
        return identity_of(self.deciding)

    @property
    def deciding(self) -> dict[str, Any]:
        """The fields that decide the result; see detox.config.identity."""
        closes = self.quarantine_policy != "never" or self.audit.trust == "earned"
        return deciding(self, quarantines=closes)

    @property
    def folder(self) -> Path:
        """The run's folder; a leading ~ of `output` is the home folder."""
        return Path(self.output).expanduser() / f"{self.name}-{self.identity}"

    def toml(self, secret: bool = False) -> str:
        """The resolved config as TOML; fields that are unset are left out, and the secret seed unless asked for."""
        left_out = None if secret else {"secret_seed"}
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True, exclude=left_out))

    def ranks(self) -> int | None:
        """Ranks that the run needs, PS included; None where any number does."""
        return None if self.workers_per_rank is None else 1 + -(-self.p // self.workers_per_rank)


def unsound(config: Config) -> str:
    """Why disagreements prove nothing in a run, with what to do; empty where they do."""
    if config.r == 1 and not (config.audit.workers or config.audit.ps):
        return "with r = 1 no two workers compute the same; set r = 3, or audit.workers = 1"
    if config.vote == "tolerance":
        return 'nearly equal gradients disagree in bits, whoever is honest; set vote = "digest"'
    if config.worker_momentum:
        return "worker_momentum: a worker that misses a step dissents from then on, and does not lie; leave it off"
    if config.q and config.attack.placement == "random":
        return (
            'attack.placement = "random" makes other workers lie in each step, more than q in all; set '
            'attack.placement = "fixed"'
        )
    return ""
