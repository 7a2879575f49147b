"""Whether a host has the memory that a run takes, told before anything long is made."""

from collections import Counter
from collections.abc import Callable, Sequence

from detox.config import Config, ConfigError
from detox.config.memory import LOADED, of_rank, of_server
from detox.config.messages import check_weights
from detox.ps.optimizers import kept_by

Admit = Callable[[int, int], None]


def room_for_server(config: Config, ranks: Sequence[int], *, available: int, all_here: bool) -> Admit:
    """What a PS's model is admitted by, see FlatModel.

    Args:
        config: of the run.
        ranks: rank of each worker.
        available: bytes on this host, before any rank has loaded anything; 0: not known.
        all_here: whether all ranks are on this host.
    """
    workers = Counter(ranks)

    def vectors() -> float:
        own = LOADED + _of_server(config, len(workers), further=False)
        if not all_here:
            return own
        others = (config.servers - 1) * (LOADED + _of_server(config, len(workers), further=True))
        return own + others + sum(LOADED + of_rank(config, count) for count in workers.values())

    if all_here:
        return _admit(vectors, available, "the run", "take more hosts, fewer workers, or a smaller model")
    return _admit(vectors, available, "the PS", "take a host with more memory, several servers, or a smaller model")


def room_for_rank(config: Config, rank: int, ranks: Sequence[int], *, available: int) -> Admit:
    """The same for the model of another rank, by what that one takes itself."""
    workers = Counter(ranks)
    if rank < config.servers:
        return _admit(
            lambda: LOADED + _of_server(config, len(workers), further=True),
            available,
            f"server {rank}",
            "take more servers, or a smaller model",
        )
    advice = "take fewer workers a rank, share_compute = true, or a smaller model"
    return _admit(lambda: LOADED + of_rank(config, workers[rank]), available, f"rank {rank}", advice)


def _of_server(config: Config, ranks: int, *, further: bool) -> float:
    state = kept_by(config.optimizer.name, config.optimizer.arguments)
    return of_server(config, ranks=ranks, state=state, further=further)


def _admit(vectors: Callable[[], float], available: int, who: str, advice: str) -> Admit:
    def check(d: int, b: int) -> None:
        check_weights(d, b)
        needed = 4 * (d + b) * vectors()
        if available and needed > available:
            raise ConfigError(
                f"{who} takes {vectors():.3g} vectors of {d + b} numbers, {needed / 1e9:.1f} GB beside its data, and "
                f"this host has {available / 1e9:.1f} GB: {advice}"
            )

    return check
