"""What an attack has to go by."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Perturbation = Literal["std", "unit", "sign"]


@dataclass(frozen=True)
class Knowledge:
    """What Byzantine workers know in one step, when they make up what to send.

    An attack that colludes is asked once per step, and all colluders send its answer: they have this same knowledge.

    Attributes:
        own: (d + b,) float32, the worker's honest vector; that of the first file where the attack colludes.
        known: (m, d + b) float32, the honest vectors that are known, one per file; without collusion just `own`.
        files: the file of each row of `known`, ascending.
        rng: the same for all colluders of a step.
        scale: the attack's strength.
        d: entries of the gradient proper, in front of the b of buffers; None: all.
        perturbation: direction of min_max and min_sum.
        memory: kept from step to step, empty at first, for an attack that remembers.
        rehearse: gives a function of what the PS would make of an answer, (d + b,) -> (d,); see Defence.rehearse.
    """

    own: np.ndarray
    known: np.ndarray
    files: tuple[int, ...]
    rng: np.random.Generator
    scale: float
    d: int | None = None
    perturbation: Perturbation = "std"
    memory: dict[str, Any] = field(default_factory=dict)
    rehearse: Callable[[], Callable[[np.ndarray], np.ndarray]] | None = None

    @property
    def gradients(self) -> np.ndarray:
        """(m, d), `known` without the batch-norm statistics: what distances and the aggregation are about."""
        return self.known[:, : self.d]
