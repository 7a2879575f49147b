"""What one field of a config alone cannot tell."""

from detox.aggregators import AggregatorError
from detox.assignment import SCHEMES
from detox.config.fields import ConfigError
from detox.config.schema import Config
from detox.worker.attacks import ATTACKS

_SAMPLES = 2**31 - 1  # of a step; with 2^32 steps, what they all draw is counted in 64 bits


def check(config: Config) -> None:
    """Checks what one field alone cannot tell, the aggregation by a rehearsal.

    Raises:
        ConfigError: p, q and r do not fit together, or the aggregator cannot tolerate so many bad votes;
            or fields that rule each other out. The message says what to set.
    """
    check_sizes(config)
    _check_fault(config)
    if config.worker_momentum:
        _check_worker_momentum(config)
    if config.vote == "tolerance" and config.recomputes:
        raise ConfigError(
            'vote = "tolerance": the PS computes other bits than workers may, so it convicts nobody; leave '
            'recomputation off (on_tie = "drop", quarantine.policy not recompute)'
        )
    if config.vote == "tolerance" and config.compression.kind != "float32":
        raise ConfigError(
            f'vote = "tolerance": what was nearly equal is not so as {config.compression.kind}, and honest workers '
            'would dissent; set compression.kind = "float32"'
        )
    if config.vote == "tolerance" and config.aggregator.name == "draco":
        raise ConfigError(
            'vote = "tolerance": one Byzantine worker can be the vote of its group, within the bound, and draco '
            "tolerates no bad vote; give another aggregator"
        )
    if config.aggregator.name == "draco" and config.r < 2 * config.q + 1:
        raise ConfigError(
            f"aggregator: draco needs groups of r >= 2q + 1 = {2 * config.q + 1} workers, so that no group can be "
            f"won; got r = {config.r}, q = {config.q}"
        )
    _check_optimizer(config)
    for name, options in config.aggregator.options.items():
        if supplied := {"previous", "rng", "trusted"} & options.keys():
            raise ConfigError(f"aggregator.options.{name}.{min(supplied)} is no number; the PS sees to it itself")
    try:
        config.hierarchy.rehearse(config.votes, config.f)
    except AggregatorError as error:
        assumed = "" if config.aggregator.f is not None else " (f is the worst case of q; aggregator.f sets another)"
        raise ConfigError(f"aggregator: {error}{assumed}") from None


def check_sizes(config: Config) -> None:
    """Raises ConfigError where p, q and r do not fit together."""
    if why := SCHEMES[config.groups].why_not(config.p, config.r):
        raise ConfigError(why)
    if config.p * config.batch_size > _SAMPLES:
        raise ConfigError(
            f"batch_size = {config.batch_size} for p = {config.p} workers: a step has at most {_SAMPLES} samples"
        )
    if config.q > config.p:
        raise ConfigError(f"q = {config.q} Byzantine workers, but there are only p = {config.p} workers")


def _check_fault(config: Config) -> None:
    if strangers := [worker for worker in config.fault.worker if worker >= config.p]:
        raise ConfigError(f"fault.worker: {strangers[0]} is no worker, they are 0 to {config.p - 1}")
    if config.fault.worker and len(config.fault.kind) not in (1, len(config.fault.worker)):
        raise ConfigError(
            f"fault.kind: {len(config.fault.kind)} kinds for {len(config.fault.worker)} workers; one for each, or one"
        )
    if config.fault.kind and not config.fault.worker:
        raise ConfigError("fault.kind without fault.worker: name the workers with the fault")
    if len(set(config.fault.worker)) < len(config.fault.worker):
        raise ConfigError("fault.worker: a worker is named twice; it has one fault at a time")
    if 0 < config.fault.last < config.fault.first:
        raise ConfigError(f"fault.last = {config.fault.last} is before fault.first = {config.fault.first}")


def _check_optimizer(config: Config) -> None:
    section = config.optimizer
    for name in ("lr", "momentum", "weight_decay"):
        if name in section.options and (given := getattr(section, name)):
            raise ConfigError(f"optimizer.options.{name}: there is optimizer.{name} = {given} beside it; give one")
    if (section.schedule == "step") != bool(section.milestones):
        raise ConfigError(
            f'optimizer.milestones = {list(section.milestones)}, optimizer.schedule = "{section.schedule}": '
            'milestones go with schedule = "step", and it needs them'
        )


def _check_worker_momentum(config: Config) -> None:
    """Workers of a group must have computed the same files in all steps, for they have to send equal bits."""
    if config.r > 1 and config.groups == "redrawn":
        raise ConfigError(
            f"worker_momentum with r = {config.r} needs groups that stay: redrawn groups bring workers together "
            'whose pasts differ, and so what they send; set groups = "fixed" or "random", or r = 1'
        )
    if config.data.split != "iid" and config.groups == "redrawn":
        raise ConfigError(
            "worker_momentum: with redrawn groups workers change files, and so shards: the momentum of each would "
            f'be of all shards; with data.split = "{config.data.split}" set groups = "fixed" or "random"'
        )
    if config.recomputes:
        raise ConfigError(
            "worker_momentum: the PS cannot compute what a worker sends, for it depends on the worker's past; "
            'leave recomputation off (on_tie = "drop", quarantine.policy not recompute)'
        )
    if (
        config.q
        and config.r > 1
        and config.attack.placement == "random"
        and ATTACKS[config.attack.kind].data is not None
    ):
        raise ConfigError(
            f"worker_momentum: attack.kind = {config.attack.kind} leaves its traces in the momentum, and with "
            'placement = "random" soon in that of every worker; give another attack.placement'
        )
    if config.quarantine.policy != "never":
        raise ConfigError('worker_momentum needs quarantine.policy = "never": whoever leaves changes the groups')
