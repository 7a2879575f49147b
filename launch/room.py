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
    workers, state = Counter(ranks), kept_by(config.optimizer.name, config.optimizer.arguments)
    vectors = LOADED + of_server(config, ranks=len(workers), state=state)
    who, advice = "the PS", "take a host with more memory for it, several servers, or a smaller model"
    if all_here:
        others = LOADED + of_server(config, ranks=len(workers), state=state, further=True)
        vectors += (config.servers - 1) * others + sum(LOADED + of_rank(config, count) for count in workers.values())
        who, advice = "the run", "take more hosts, fewer workers, or a smaller model"
    return _admit(vectors, available, who, advice)


def room_for_rank(config: Config, rank: int, ranks: Sequence[int], *, available: int) -> Admit:
    """The same for the model of another rank, by what that one takes itself."""
    workers = Counter(ranks)
    if rank < config.servers:
        state = kept_by(config.optimizer.name, config.optimizer.arguments)
        beside = of_server(config, ranks=len(workers), state=state, further=True)
        return _admit(LOADED + beside, available, f"server {rank}", "take more servers, or a smaller model")
    advice = "take fewer workers a rank, share_compute = true, or a smaller model"
    return _admit(LOADED + of_rank(config, workers[rank]), available, f"rank {rank}", advice)


def _admit(vectors: float, available: int, who: str, advice: str) -> Admit:
    def check(d: int, b: int) -> None:
        check_weights(d, b)
        needed = 4 * (d + b) * vectors
        if available and needed > available:
            raise ConfigError(
                f"{who} takes {vectors:.3g} vectors of {d + b} numbers, {needed / 1e9:.1f} GB beside its data, and "
                f"this host has {available / 1e9:.1f} GB: {advice}"
            )

    return check
