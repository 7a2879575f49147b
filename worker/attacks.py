"""What a Byzantine worker sends in place of its gradient.

An attack is a function of the worker's own honest vector (d + b,), the honest vectors that the colluders know
(m, d + b), one of each distinct file, a random generator that is the same for all colluders of a step, and a
scale; it returns (d + b,) float32. Batch-norm statistics, the last b entries, are attacked like the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

Attack = Callable[[np.ndarray, np.ndarray, np.random.Generator, float], np.ndarray]


def reversed_gradient(own: np.ndarray, known: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    """-scale times the gradient (DETOX, section 5; the released code has 100)."""
    return own * np.float32(-scale)


def constant(own: np.ndarray, known: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    """All entries equal to scale (DETOX, section 5; the released code has -100)."""
    return np.full_like(own, scale)


def gaussian(own: np.ndarray, known: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    """Normal noise of standard deviation scale; the same from all colluders, so that it can win a vote."""
    return rng.standard_normal(own.shape, np.float32) * np.float32(scale)


def not_a_number(own: np.ndarray, known: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    """NaN everywhere."""
    return np.full_like(own, np.nan)


def infinite(own: np.ndarray, known: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    """Infinity everywhere."""
    return np.full_like(own, np.inf)


def alie(own: np.ndarray, known: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    """mean + scale * standard deviation of what the colluders know ("A Little Is Enough", arXiv 1902.06156, Alg. 3).

    The moments are over distinct files: two colluders of one group hold the same gradient.
    """
    moved: np.ndarray = known.mean(axis=0) + np.float32(scale) * known.std(axis=0)
    return moved


def alie_z(n: int, m: int) -> float:
    """The greatest z that m of n workers can hide (arXiv 1902.06156, Alg. 3, lines 1-2).

    Phi^-1((n - m - s) / (n - m)) with s = floor(n/2 + 1) - m supporters needed among the honest.
    """
    supporters = max(1, n // 2 + 1 - m)
    return NormalDist().inv_cdf((n - m - supporters) / (n - m)) if n - m > supporters else 0.0


@dataclass(frozen=True)
class Kind:
    """An attack, its default scale (None: computed from p and q), and whether it needs collusion."""

    attack: Attack
    scale: float | None = 1.0
    colludes: bool = False


ATTACKS: dict[str, Kind] = {
    "reversed": Kind(reversed_gradient, 100.0),
    "constant": Kind(constant, -100.0),
    "sign_flip": Kind(reversed_gradient, 1.0),
    "gaussian": Kind(gaussian, 100.0),
    "nan": Kind(not_a_number),
    "inf": Kind(infinite),
    "alie": Kind(alie, None, colludes=True),
}
