"""Whether a host has the memory that a run takes, told before anything long is made."""

from collections import Counter
from collections.abc import Callable, Sequence

from detox.config import Config, ConfigError
from detox.config.memory import least, of_model, of_rank, of_server
from detox.ps.optimizers import kept_by

Admit = Callable[[int, int], None]
Warn = Callable[[str], object]


def room_for_server(
    config: Config, ranks: Sequence[int], *, available: int, all_here: bool, admits: bool, warn: Warn
) -> Admit:
    """What a PS's model is admitted by, see FlatModel.

    Args:
        config: of the run.
        ranks: rank of each worker.
        available: bytes on this host, before any rank has loaded anything; 0: not known.
        all_here: whether all ranks are on this host.
        admits: whether ranks come by themselves.
        warn: told where it may be too little; where it is in any case, the model is refused.
    """
    workers, loaded = Counter(ranks), of_model(config)

    def vectors(size: int) -> float:
        own = loaded + _of_server(config, size, admits=admits)
        if not all_here:
            return own
        others = (config.servers - 1) * (loaded + _of_server(config, size, further=True))
        return own + others + sum(loaded + of_rank(config, count, size) for count in workers.values())

    if all_here:
        return _admit(
            vectors, least(config), available, "the run", "take more hosts, fewer workers, or a smaller model", warn
        )
    return _admit(
        vectors,
        least(config),
        available,
        "the PS",
        "take a host with more memory, several servers, or a smaller model",
        warn,
    )


def room_for_rank(config: Config, rank: int, ranks: Sequence[int], *, available: int, warn: Warn) -> Admit:
    """The same for the model of another rank, by what that one takes itself."""
    workers, loaded = Counter(ranks), of_model(config)
    if rank < config.servers:
        return _admit(
            lambda size: loaded + _of_server(config, size, further=True),
            least(config),
            available,
            f"server {rank}",
            "take more servers, or a smaller model",
            warn,
        )
    advice = "take fewer workers a rank, share_compute = true, or a smaller model"
    return _admit(
        lambda size: loaded + of_rank(config, workers[rank], size),
        least(config),
        available,
        f"rank {rank}",
        advice,
        warn,
    )


def _of_server(config: Config, size: int, *, further: bool = False, admits: bool = False) -> float:
    state = kept_by(config.optimizer.name, config.optimizer.arguments)
    return of_server(config, size, state=state, further=further, admits=admits)


def _admit(vectors: Callable[[int], float], surely: float, available: int, who: str, advice: str, warn: Warn) -> Admit:
    def check(d: int, b: int) -> None:
        count = vectors(d + b)
        needed = 4 * (d + b) * count
        if not available or needed <= available:
            return
        found = (
            f"{who} takes {count:.3g} vectors of {d + b} numbers, {needed / 1e9:.1f} GB beside its data, and "
            f"this host has {available / 1e9:.1f} GB"
        )
        if surely * needed > available:
            raise ConfigError(f"{found}: {advice}")
        warn(f"{found}, which may be too little: {advice}")

    return check
