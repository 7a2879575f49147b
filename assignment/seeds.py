"""Named streams of random numbers: everything random is a function of a seed, a name and counters."""

import zlib

import numpy as np


def stream(seed: int, name: str, *counters: int) -> np.random.Generator:
    """A generator of its own for each seed, name and counters, the same in every process."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), *counters])
