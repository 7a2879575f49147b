"""What the fields of a config rule out together: each part says its own conditions, and is asked here in turn."""

from detox.aggregators import AggregatorError
from detox.assignment import SCHEMES
from detox.config.advice import advise
from detox.config.fields import ConfigError
from detox.config.schema import Config
from detox.errors.words import counted
from detox.ps.ballots import VOTES
from detox.ps.best import KNOWN
from detox.worker.attacks import ATTACKS
from detox.worker.momentum import Momentum

_SAMPLES = 2**31 - 1  # of a step; with 2^32 steps, what they all draw is counted in 64 bits


def check(config: Config) -> None:
    """Checks what one field alone cannot tell, the aggregation by a rehearsal.

    Raises:
        ConfigError: what does not go together, and what to do.
    """
    check_sizes(config)
    try:
        if why := _objection(config):
            raise ConfigError(why)
        if why := _shortage(config):
            raise ConfigError(f"aggregator.{config.aggregator.chosen}: {why}{advise(config, _serves)}")
        config.hierarchy.rehearse(config.votes, config.f)
    except AggregatorError as error:  # a name that there is not, or an option
        raise ConfigError(f"aggregator.{error.argument or config.aggregator.chosen}: {error}") from None


def check_sizes(config: Config) -> None:
    """Raises ConfigError where p, q and r do not fit together."""
    if why := SCHEMES[config.groups].why_not(config.p, config.r):
        raise ConfigError(why)
    workers = counted(config.p, "worker")
    if config.p * config.batch_size > _SAMPLES:
        raise ConfigError(f"batch_size = {config.batch_size} for p = {workers}: a step has at most {_SAMPLES} samples")
    if config.q > config.p:
        raise ConfigError(f"q = {config.q} Byzantine workers, but there are only p = {workers}")


def _objection(config: Config) -> str:
    """Why the parts do not go together, but for what aggregation needs of p, q and r; empty where they do."""
    if why := config.fault.why_not(config.p) or config.optimizer.why_not() or config.aggregator.why_not():
        return why
    if config.best not in (None, *KNOWN) and config.best_is is None:
        return f'best = "{config.best}": say whether higher or lower is better, best_is = "higher" or "lower"'
    if config.best_is is not None and config.best is None:
        return f'best_is = "{config.best_is}" without best: name the score'
    if config.worker_momentum and (
        why := Momentum.why_not(
            r=config.r,
            redrawn=config.groups == "redrawn",
            split=config.data.split,
            recomputes=config.recomputes,
            poisoned=config.attack.kind if config.q and _wanders(config) else "",
            quarantines=config.quarantine.policy != "never",
        )
    ):
        return why
    exact = config.aggregator.name or "" if config.hierarchy.exact else ""
    why = VOTES[config.vote].why_not(recomputes=config.recomputes, compression=config.compression.kind, exact=exact)
    return f'vote = "{config.vote}": {why}' if why else ""


def _wanders(config: Config) -> bool:
    """Whether what a Byzantine worker computes from is poisoned, each step another's."""
    return config.attack.placement == "random" and ATTACKS[config.attack.kind].data is not None


def _shortage(config: Config) -> str:
    """What the aggregation needs of p, q and r, and does not have; empty where it has all."""
    hierarchy = config.hierarchy
    if why := hierarchy.why_not(config.q, config.r):
        return f"{config.aggregator.name} {why}"
    try:
        hierarchy.check(config.votes, config.f)
    except AggregatorError as error:
        worst = "" if config.aggregator.f is not None else " (f is the worst case of q; aggregator.f sets another)"
        return f"{error}{worst}"
    return ""


def _serves(config: Config) -> bool:
    """Whether the config can be run."""
    try:
        check_sizes(config)
        if _objection(config) or _shortage(config):
            return False
        config.hierarchy.rehearse(config.votes, config.f)
    except (ConfigError, AggregatorError):
        return False
    return True
