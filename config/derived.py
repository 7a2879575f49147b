"""What follows from the fields of a config: numbers, and the components of the run."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tomli_w

from detox.aggregators import Hierarchy
from detox.assignment import SCHEMES
from detox.assignment.designs import Design
from detox.assignment.schemes import AuditedFiles, Scheme
from detox.config.fields import ConfigError
from detox.config.identity import deciding, identity_of
from detox.config.schema import Fields
from detox.ps.ballots import VOTES, DigestBallot, FullBallot, ToleranceBallot
from detox.ps.ballots.ballot import CreateBallot
from detox.ps.best import Best
from detox.ps.quarantine import Quarantine
from detox.ps.round import LATE_STEPS
from detox.ps.trust import Trust
from detox.tasks.computing import Computing
from detox.tasks.samples import Files
from detox.worker.attacks import ATTACKS

if TYPE_CHECKING:
    from detox.ps.model import GlobalModel
    from detox.tasks import Task


class Config(Fields):
    """One run."""

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

    @property
    def colludes(self) -> bool:
        """Whether Byzantine workers talk to each other before they send."""
        return self.q > 0 and (ATTACKS[self.attack.kind].colludes or self.attack.when != "always")

    @property
    def compares_bits(self) -> bool:
        """Whether workers have to compute equal bits to agree."""
        return (self.r > 1 or self.audit.workers > 0) and self.vote != "tolerance"

    @property
    def chained(self) -> int:
        """What chain_every comes to."""
        if self.chain_every is not None or self.servers > 1:
            return self.chain_every or 0
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

    def ranks(self) -> int | None:
        """Ranks that the run needs, servers included; None where any number does."""
        return None if self.workers_per_rank is None else self.servers + -(-self.p // self.workers_per_rank)

    @property
    def computing(self) -> Computing:
        """How PS and workers compute gradients."""
        return Computing(self.micro_batch_size, self.autocast == "bf16", self.compute == "batched")

    @property
    def hierarchy(self) -> Hierarchy:
        """The aggregation that the section `aggregator` describes.

        Raises:
            AggregatorError: it names no such rule or option.
        """
        return self.aggregator.create()

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
        if self.servers > 1:
            return partial(DigestBallot, servers=self.servers)
        return FullBallot if self.r == 1 else VOTES[self.vote]

    def create_task(self) -> "Task":
        """The task, with its data loaded; see detox.tasks.create_task for what it raises."""
        from detox.tasks import create_task  # later, as commands that only start a job need no torch

        return create_task(self.task, model=self.model, data_dir=self.data_dir, device=self.device)

    def create_model(self, task: "Task", admit: Callable[[int, int], object] = lambda d, b: None) -> "GlobalModel":
        """The PS's model, with the weights of `init`; see OptimizerConfig.create.

        Args:
            task: makes it.
            admit: see FlatModel.

        Raises:
            WeightsError, ConfigError: the file cannot be used, or is of another model.
        """
        model = self.optimizer.create(task, self.seed, self.steps, self.computing, self.servers, admit)
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

    def create_trust(self) -> Trust | None:
        """Who is to be audited how often, before the first step; None where trust is not to be earned."""
        return Trust(self.p, LATE_STEPS) if self.audit.trust == "earned" else None

    def create_quarantine(self) -> Quarantine:
        """The quarantine, before the first step."""
        return self.quarantine.create(self.quarantine_policy, self.q)

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
