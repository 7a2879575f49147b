"""About what memory a run takes at its most, in vectors of the weights' length; see docs/experiments/cluster.md."""

from detox.config.derived import Config
from detox.tasks.computing import FILES
from detox.wire.codec import CHUNK
from detox.wire.session import AHEAD
from detox.worker.attacks import ATTACKS
from detox.worker.servers import LEAVING

SERVER_PROGRAM, RANK_PROGRAM = 530_000_000, 300_000_000
"""Bytes of Python, torch and kernels, without the task's data."""


def least(config: Config) -> float:
    """What share of what is said here a process takes in any case, beside its program; a bit less than was measured.

    What colluders tell each other is said of all ranks, and those without Byzantine workers have none of it.
    """
    return 0.4 if config.colludes else 0.72


def of_model(config: Config) -> int:
    """Vectors of a loaded model: the weights, their gradient, and a copy of the weights around what might change them.

    Of one on a GPU the weights as they come from it or go there; its other vectors are in the GPU's memory.
    """
    return 3 if config.device == "cpu" else 1


def of_call(config: Config) -> int:
    """Vectors of a batched call: on a GPU only what comes off it; else autograd's, without -0.0, and all in one."""
    return FILES * (3 if config.device == "cpu" else 1) if config.compute == "batched" else 0


def of_server(config: Config, size: int, *, state: int = 0, further: bool = False, admits: bool = False) -> float:
    """Vectors that a server takes at its most beside a loaded model.

    The votes, one a file by digests, else every copy, and what is kept from step to step. Then whichever is more:
    chunks of gradients on their way in, or copies of the newest and the best weights as they are written, and two of
    the mean of them if one is kept, with as much again as the optimizer keeps. Of several servers each has a part of
    all that and sends its state in two copies, and the PS puts a checkpoint together. A batched call comes before
    there are votes, but where the PS recomputes.

    Where dissenters are examined, the vote on one file is kept until the answer comes, which is after the next weights.
    A worker that stops in the middle of its gradient costs the vector that another's is put together in meanwhile.

    Args:
        config: the run's.
        size: entries of a vector, d + b.
        state: vectors that the optimizer keeps.
        further: whether it is another one than the PS, which has neither evaluations nor checkpoints.
        admits: whether ranks come by themselves, for whom the PS keeps the weights of the self-test.
    """
    share = 1 / config.servers
    mean = bool(config.optimizer.ema)
    votes = config.votes if config.vote == "digest" else config.p * config.files_per_worker
    kept: int = state + mean + config.hierarchy.uses("previous")
    if config.device != "cpu":  # then it is in the GPU's memory
        kept = 0
    arriving = votes * min(share, AHEAD * CHUNK / size)
    if further:
        return (kept + votes) * share + max(arriving, 2 * (1 + state) * share)
    copies = 2 + 2 * mean + (min(state, kept) if config.servers == 1 else 2 * (1 + state))
    examined = config.servers == 1 and config.r > 1 and config.vote == "digest" and config.forensics.every > 0
    stepping, call = (kept + votes) * share + examined + max(arriving, copies), of_call(config)
    return admits + (stepping + call if config.recomputes else max(stepping, call))


def of_rank(config: Config, workers: int, size: int) -> float:
    """Vectors of so many entries that a rank of so many workers takes at its most beside a loaded model.

    Weights of two steps as they came, one gradient that is being made and one of the step before, or those of a batched
    call; then what the workers have claimed, once for all of them that share it, and what of that is on its way out;
    and each worker's momentum, and two on the way to the next.

    Where Byzantine workers agree on what they send, their ranks have what they tell each other. One that makes an
    attack of it has that of two steps, the newer in one piece and how far each is from their mean, and two vectors.
    """
    claimed = workers * config.files_per_worker
    shared = min(claimed, config.votes) if config.share_compute else claimed
    own = config.worker_momentum > 0 or config.compression.kind != "float32"  # each makes a vector of its own of it
    kept = (claimed if own else shared) + (workers + 2 if config.worker_momentum else 0)
    sent = shared if config.vote == "digest" else claimed
    leaving = min(sent, (sent + LEAVING) * config.servers * min(1, CHUNK / size))
    return 4 + of_call(config) + kept + leaving + _told(config)


def _told(config: Config) -> int:
    """Of other files' honest vectors, see detox.worker.adversary."""
    if not config.colludes:
        return 0
    omniscient = config.attack.knowledge == "omniscient"
    known = config.votes if omniscient else min(config.votes, config.q * config.files_per_worker)
    return known + (3 * known + 2 if ATTACKS[config.attack.kind].colludes else 0)
