"""Attacks and corruptions that do not hide: each worker answers for itself, from its own gradient.

Two colluders of one group hold the same gradient and the same random numbers, so they send equal bits all the same.
"""

import numpy as np

from detox.worker.knowledge import Knowledge


def reversed_gradient(k: Knowledge) -> np.ndarray:
    """`-scale * g` (DETOX, section 5; the released code has 100)."""
    return k.own * np.float32(-k.scale)


def sign_flip(k: Knowledge) -> np.ndarray:
    """`-scale * g`: with scale 1, `g` with all its signs flipped (Li et al. 2019, arXiv 1811.03761)."""
    return reversed_gradient(k)


def constant(k: Knowledge) -> np.ndarray:
    """All entries `scale` (DETOX, section 5; the released code has -100)."""
    return np.full_like(k.own, k.scale)


def zero(k: Knowledge) -> np.ndarray:
    """Zeros."""
    return np.zeros_like(k.own)


def gaussian(k: Knowledge) -> np.ndarray:
    """Normal noise of standard deviation `scale` (Blanchard et al. 2017, arXiv 1703.02757)."""
    return k.rng.standard_normal(k.own.shape, np.float32) * np.float32(k.scale)


def not_a_number(k: Knowledge) -> np.ndarray:
    """NaN everywhere."""
    return np.full_like(k.own, np.nan)


def infinite(k: Knowledge) -> np.ndarray:
    """Infinity everywhere."""
    return np.full_like(k.own, np.inf)


def bit_flip(k: Knowledge) -> np.ndarray:
    """`g` with one to three flipped bits in each of `scale` random entries, all finite, as silent corruption has it."""
    return flip_bits(k.own, max(1, int(k.scale)), k.rng)


def label_flip(k: Knowledge) -> np.ndarray:
    """The gradient on labels `C - 1 - y` in place of y, of C classes (Karimireddy et al. 2022, arXiv 2006.09365)."""
    return k.own.copy()  # the attack is in the data: see AttackKind.data


def flip_bits(vector: np.ndarray, entries: int, rng: np.random.Generator) -> np.ndarray:
    """A copy with one to three random bits flipped in each of so many random entries; none becomes NaN or infinite.

    Args:
        vector: (size,) float32.
        entries: at least 1; no more than size are hit.
        rng: decides where.
    """
    flipped = vector.copy()
    places = rng.choice(vector.size, min(entries, vector.size), replace=False)
    while places.size:
        masks = np.bitwise_or.reduce(np.uint32(1) << rng.integers(0, 32, (places.size, 3), np.uint32), axis=1)
        flipped.view(np.uint32)[places] = vector.view(np.uint32)[places] ^ masks
        places = places[~np.isfinite(flipped[places])]
    return flipped
