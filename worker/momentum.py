"""Momentum at the workers, so that what they send varies less than gradients do."""

import numpy as np


class Momentum:
    """Each worker's running mean of its gradients, m <- beta m + (1 - beta) g, from m = 0 (arXiv 2012.10333).

    Args:
        beta: what is kept of the past, in [0, 1).
        d: entries of the gradient; the buffers behind them in a vector have no momentum.
    """

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
