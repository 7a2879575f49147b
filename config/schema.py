"""The fields of a run's config."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from detox.assignment import SCHEMES
from detox.config.defences import AggregatorConfig, AuditConfig, ForensicsConfig, QuarantineConfig
from detox.config.fields import Count, Fraction, Natural, Section, Seed
from detox.config.identity import Output, RunName
from detox.config.messages import CompressionConfig, TransportConfig
from detox.config.threats import AttackConfig, FaultConfig
from detox.config.training import DataConfig, OptimizerConfig
from detox.ps.ballots import VOTES
from detox.ps.best import Direction

if TYPE_CHECKING:
    SchemeName = str
    VoteName = str
else:
    SchemeName = Literal[tuple(SCHEMES)]
    VoteName = Literal[tuple(VOTES)]


class Fields(Section):
    """The fields of a run, those of its sections within them."""

    name: RunName = "run"
    """Names the run's folder, with a hash of the config behind it; unset: the config file's name."""
    task: str = "digits"
    """digits, mnist, fashion-mnist, cifar10, cifar100, or my_module:MyTask for one of your own."""
    model: str | None = None
    """softmax, mlp, fc_mnist, cnn_mnist, lenet, resnet8, resnet18 or vgg13; unset: the task's default."""
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
    compute: Literal["each", "batched"] = "each"
    """each: a file after the other. batched: 16 files in one call of torch.func.vmap, filled up where a rank has fewer
    at hand, so that bits do not depend on what it has: for small models with many files per rank. Tasks of your own
    need the methods `batch` and `batch_loss`; no batch norm with running statistics, no dropout."""
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
    servers: Annotated[int, Field(ge=1, le=256)] = 1
    """Ranks, the first ones, that are the parameter server together: each has a part of the weights, the optimizer's
    state and the votes, for where one link is what a step waits for. All are trusted. Each owns whole blocks of
    parameters, about 262,144 of large models and at least 32,768; see docs/servers.md."""
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
