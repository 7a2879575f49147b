"""Momentum at the workers, so that what they send varies less than gradients do."""

import numpy as np


class Momentum:
    """Each worker's running mean of its gradients, m <- beta m + (1 - beta) g, from m = 0 (arXiv 2012.10333).

    Args:
        beta: what is kept of the past, in [0, 1).
        d: entries of the gradient; the buffers behind them in a vector have no momentum.
    """

    @staticmethod
    def why_not(*, r: int, redrawn: bool, split: str, recomputes: bool, poisoned: str, quarantines: bool) -> str:
        """Why a run cannot have it, with what to do; empty where it can.

        Workers of a group have to send equal bits, so they must have computed the same files in all steps.

        Args:
            r: workers in a group.
            redrawn: whether groups are drawn anew each step.
            split: of the data, "iid" where all files draw from the same samples.
            recomputes: whether the PS may have to compute what workers send.
            poisoned: the attack that changes what workers compute from, and moves from worker to worker; or empty.
            quarantines: whether workers may be left out.
        """
        if r > 1 and redrawn:
            return (
                f"worker_momentum with r = {r} needs groups that stay: redrawn groups bring workers together whose "
                'pasts differ, and so what they send; set groups = "fixed" or "random", or r = 1'
            )
        if split != "iid" and redrawn:
            return (
                "worker_momentum: with redrawn groups workers change files, and so shards: the momentum of each would "
                f'be of all shards; with data.split = "{split}" set groups = "fixed" or "random"'
            )
        if recomputes:
            return (
                "worker_momentum: the PS cannot compute what a worker sends, for it depends on the worker's past; "
                'leave recomputation off (on_tie = "drop", quarantine.policy not recompute, audit.ps = 0)'
            )
        if r > 1 and poisoned:
            return (
                f"worker_momentum: attack.kind = {poisoned} leaves its traces in the momentum, and with placement = "
                '"random" soon in that of every worker; give another attack.placement'
            )
        if quarantines:
            return 'worker_momentum needs quarantine.policy = "never": whoever leaves changes the groups'
        return ""

    def __init__(self, beta: float, d: int) -> None:
        self._beta = np.float32(beta)
        self._d = d
        self._means: dict[int, np.ndarray] = {}

    def add(self, worker: int, vector: np.ndarray) -> np.ndarray:
        """(d + b,) float32, a new array: the vector with the worker's momentum in the place of its gradient.

        A momentum with NaN or infinity is sent, but forgotten: it would never become finite again.
        """
        mean = (1 - self._beta) * vector[: self._d]
        if worker in self._means:
            mean += self._beta * self._means[worker]
        if np.isfinite(mean).all():
            self._means[worker] = mean
        return np.concatenate([mean, vector[self._d :]])
