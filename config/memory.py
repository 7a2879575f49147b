"""What memory a run takes at its most, in vectors as long as the weights; measured in docs/experiments/cluster.md."""

from detox.config.derived import Config

LEAST = 0.75
"""Of what is said here a process has taken at least so much, beside its program, wherever it was measured."""
SERVER_PROGRAM, RANK_PROGRAM = 530_000_000, 300_000_000
"""Bytes of Python, torch and kernels, without the task's data."""
_AT_A_TIME = 4
"""Messages of one rank that are received at a time."""


def of_model(config: Config) -> int:
    """Vectors of a loaded model: the weights, their gradient, and a copy of the weights around what might change them.

    Of one on a GPU the weights as they come from it or go there; its other vectors are in the GPU's memory.
    """
    return 3 if config.device == "cpu" else 1


def of_server(config: Config, *, ranks: int | None = None, state: int = 0, further: bool = False) -> float:
    """Vectors that a server takes at its most beside a loaded model.

    The optimizer's state, and the votes: one a file by digests, else every copy. Then whichever is more: gradients on
    their way in, or copies of the newest and the best weights as they are written, and the mean of them if one is kept.
    Of several servers each has a part of all that, and the PS puts a checkpoint together.

    Args:
        config: the run's.
        ranks: of workers; None: one a worker.
        state: vectors that the optimizer keeps.
        further: whether it is another one than the PS, which has neither evaluations nor checkpoints.
    """
    share = 1 / config.servers
    kept = config.votes if config.vote == "digest" else config.p * config.files_per_worker
    arriving = min(kept, _AT_A_TIME * (config.p if ranks is None else ranks))
    copies = 2 + bool(config.optimizer.ema) + (0 if config.servers == 1 else 2 * (1 + state))
    return (state + kept) * share + max(arriving * share, 0 if further else copies)


def of_rank(config: Config, workers: int) -> int:
    """Vectors that a rank of so many workers takes at its most beside a loaded model.

    Weights of two steps as they came, one gradient that is being made and one of the step before; then what the workers
    have claimed, once for all of them that share it, and what of that is on its way out.
    """
    claimed = workers * config.files_per_worker
    shared = min(claimed, config.votes) if config.share_compute else claimed
    return 4 + shared + (shared if config.vote == "digest" else claimed)
