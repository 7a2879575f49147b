"""What the fields of a config rule out together: each part says its own conditions, and is asked here in turn."""

from pathlib import Path

from detox.aggregators import AggregatorError
from detox.assignment import SCHEMES
from detox.assignment.schemes import AuditedFiles
from detox.config.advice import advise
from detox.config.derived import Config, unsound
from detox.config.fields import ConfigError
from detox.config.over_tcp import not_over_tcp
from detox.config.sharing import unshared
from detox.errors.words import counted
from detox.ps.ballots import VOTES
from detox.ps.best import KNOWN
from detox.worker.attacks import ATTACKS
from detox.worker.momentum import Momentum
from detox.worker.relay_faults import RELAYS

_SAMPLES = 2**31 - 1  # of a step; with 2^32 steps, what they all draw is counted in 64 bits


def check(config: Config) -> None:
    """Checks what one field alone cannot tell, the aggregation by a rehearsal.

    Raises:
        ConfigError: what does not go together, and what to do.
    """
    if why := _misfit(config):
        raise ConfigError(f"{why}{'' if config.designed else advise(config, can_run)}")
    try:
        if why := _objection(config):
            raise ConfigError(why)
        if why := _shortage(config):
            raise ConfigError(f"aggregator.{config.aggregator.chosen}: {why}{advise(config, can_run)}")
    except AggregatorError as error:  # a name that there is not, or an option
        raise ConfigError(f"aggregator.{error.argument or config.aggregator.chosen}: {error}") from None


def check_sizes(config: Config) -> None:
    """Raises ConfigError where p, q and r do not fit together, whatever the aggregator."""
    if why := _misfit(config):
        raise ConfigError(f"{why}{advise(config, lambda other: not _misfit(other))}")


def _misfit(config: Config) -> str:
    """Why p, q, r and the batch do not go together; empty where they do."""
    workers = counted(config.p, "worker")
    if why := SCHEMES[config.groups].why_not(config.p, config.r, config.copies == "lazy"):
        return why
    if config.p * config.batch_size > _SAMPLES:
        most = _SAMPLES // config.p
        return f"batch_size = {config.batch_size} for p = {workers}: a step has at most {_SAMPLES} samples, {most} each"
    if not config.file_size:
        least = -(-config.votes // config.p)
        return (
            f"batch_size = {config.batch_size} for p = {workers}: {config.votes} files of a step take at least "
            f"{least} samples per worker"
        )
    if config.q > config.p:
        return f"q = {config.q} Byzantine workers, but there are only p = {workers}"
    return ""


def _objection(config: Config) -> str:
    """Why the parts do not go together, but for what aggregation needs of p, q and r; empty where they do."""
    if why := config.fault.why_not(config.p) or config.optimizer.why_not() or config.aggregator.why_not():
        return why
    if why := config.transport.why_not():
        return why
    if (least := config.transport.p_min) is not None and least > config.p:
        return f"transport.p_min = {least} workers of p = {config.p}"
    if config.transport.channel == "tcp" and (why := not_over_tcp(config)):
        return why
    if config.servers > 1 and (why := unshared(config)):
        return f"servers = {config.servers}: {why}"
    if config.transport.relay != "relay" and (idle := sorted(RELAYS.keys() & set(config.fault.kind))):
        why = "no rank passes weights on as a star, which auto may be"
        return f'fault.kind = {idle[0]}: {why}; set transport.relay = "relay"'
    if config.init is not None and not Path(config.init).expanduser().is_file():
        return f"init: there is no file {config.init}"
    if config.best not in (None, *KNOWN) and config.best_is is None:
        return f'best = "{config.best}": say whether higher or lower is better, best_is = "higher" or "lower"'
    if config.best_is is not None and config.best is None:
        return f'best_is = "{config.best_is}" without best: name the score'
    if why := _undesigned(config):
        return why
    if config.compute == "batched" and config.micro_batch_size is not None:
        return 'compute = "batched" has whole files in memory; leave micro_batch_size out, or set compute = "each"'
    if config.worker_momentum and config.copies == "lazy":
        return (
            "worker_momentum: with lazy copies a holder that is asked late has no momentum of the file that it "
            'computes; set copies = "all"'
        )
    if config.worker_momentum and (
        why := Momentum.why_not(
            r=config.r,
            redrawn=config.redrawn,
            split=config.data.split,
            recomputes=config.recomputes,
            poisoned=config.attack.kind if config.q and _wanders(config) else "",
            quarantines=config.quarantine_policy != "never",
        )
    ):
        return why
    if config.copies == "lazy" and config.r == 1:
        return 'copies = "lazy": with r = 1 each file has one copy anyway; set copies = "all"'
    if config.audit.most > config.votes:
        return (
            f"audit.ps = {config.audit.ps}: a step has {counted(config.votes, 'file')}; set audit.ps = {config.votes}"
        )
    if config.quarantine.fail_closed and config.quarantine_policy != "graph":
        return 'quarantine.fail_closed goes by the graph of disagreements; set quarantine.policy = "graph"'
    if config.q and config.attack.when == "framing" and config.attack.knowledge != "omniscient":
        return (
            'attack.when = "framing": Byzantine workers have to know who else holds a file; set '
            'attack.knowledge = "omniscient"'
        )
    if config.audit.workers and (why := _unaudited(config)):
        return f"audit.workers = {config.audit.workers}: {why}"
    if config.audit.trust == "earned" and not config.audit.workers:
        return 'audit.trust = "earned": there is nobody to check less often; set audit.workers = 1, or leave it off'
    if config.quarantine.policy == "graph" and (why := unsound(config)):
        return f'quarantine.policy = "graph": {why}'
    exact = config.aggregator.name or "" if config.hierarchy.exact else ""
    why = VOTES[config.vote].why_not(recomputes=config.recomputes, compression=config.compression.kind, exact=exact)
    return f'vote = "{config.vote}": {why}' if why else ""


def _undesigned(config: Config) -> str:
    """What does not go with a design, or with no design only; empty where there is nothing."""
    if not config.designed:
        why = 'groups_redrawn is for mols, ramanujan and steiner; set groups = "redrawn"'
        return why if config.groups_redrawn else ""
    if config.groups_within == "class":
        return f'groups = "{config.groups}" is of all workers; set groups_within = "all"'
    if config.worker_momentum:
        return (
            f'worker_momentum: with groups = "{config.groups}" a worker holds several files, and has one momentum; '
            "leave it off"
        )
    if config.q and config.attack.placement in ("worst", "spread", "group"):
        return (
            f'attack.placement = "{config.attack.placement}" goes by groups that share no worker; with groups = '
            f'"{config.groups}" set attack.placement = "optimal"'
        )
    return ""


def _unaudited(config: Config) -> str:
    """Why auditors do not go with the rest; empty where they do."""
    if config.r != 1:
        return f"with r = {config.r} each file has copies already; set r = 1"
    if config.groups != "redrawn" or config.groups_within != "all":
        return 'who audits is drawn in secret among all; set groups = "redrawn" and groups_within = "all"'
    if config.vote == "tolerance" or config.worker_momentum:
        return 'an auditor compares bits of one gradient; set vote = "digest" and worker_momentum = 0'
    return AuditedFiles.why_not(config.p, config.audit.workers)


def _wanders(config: Config) -> bool:
    """Whether what a Byzantine worker computes from is poisoned, each step another's."""
    return config.attack.placement == "random" and ATTACKS[config.attack.kind].data is not None


def _shortage(config: Config) -> str:
    """What the aggregation needs of p, q and r, and does not have; empty where it has all.

    Raises:
        AggregatorError: it cannot be made at all, or an option does not fit.
    """
    hierarchy = config.hierarchy
    if why := hierarchy.why_not(config.q, config.r):
        return f"{config.aggregator.name} {why}"
    try:
        hierarchy.rehearse(config.votes, config.f)
    except AggregatorError as error:
        if error.argument:
            raise
        worst = "" if config.aggregator.f is not None else " (f is the worst case of q; aggregator.f sets another)"
        return f"{error}{worst}"
    return ""


def can_run(config: Config) -> bool:
    """Whether `check` would find nothing."""
    try:
        return not (_misfit(config) or _objection(config) or _shortage(config))
    except AggregatorError:
        return False
