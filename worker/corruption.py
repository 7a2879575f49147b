"""Silent corruption: vectors as a broken processor or memory computes them. Nothing in a message is wrong.

What corrupted results look like, and how often, is from gate-level faults injected into a GPU (Tung et al., "The
Anatomy of Silent Data Corruption", DSN 2026, arXiv 2605.04213): 50.7 % zeros, 48.3 % flipped bits that leave a finite
number, fewer than 40 % of these single bits and low bits likelier, 1.0 % NaN or infinity; corrupted elements lie 2, 4,
8 or 16 apart. Where it leaves a distribution open, the choice is ours, and said below.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detox.assignment.seeds import stream
from detox.wire import Header, digest_of
from detox.worker.blatant import flip_bits

_STRIDES = (2, 4, 8, 16)  # ours: each as likely
_FEW = (2, 32)  # elements of a corruption, uniformly: ours; a warp has 32 lanes
_SINGLE = 3 / 8  # of the masks have a single bit; the others uniformly 2 to 8, which is ours
_LOW = np.arange(32, 0, -1) / 528  # bit i with a probability in proportion to 32 - i: ours
_MIX = {"zeros": 0.507, "flips": 0.483, "nonfinite": 0.010}

Corruption = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""A copy of a (size,) float32 vector, corrupted as the generator has it: with other bits, unless the vector is zero."""


def bit_flip(vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A gradient with flipped bits in one entry."""
    return flip_bits(vector, 1, rng)


def not_a_number(vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A gradient with one NaN."""
    return _with(vector, slice(place := int(rng.integers(vector.size)), place + 1), np.nan)


def infinite(vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A gradient with one infinity."""
    return _with(vector, slice(place := int(rng.integers(vector.size)), place + 1), np.inf)


def nullify(vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A gradient with zeros in 2 to 32 entries, 2, 4, 8 or 16 apart."""
    return _with(vector, _few(vector, rng), 0.0)


def stripe(vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A gradient with the same bits, rather low ones, flipped in every 2nd, 4th, 8th or 16th entry; all stay finite."""
    stride = int(rng.choice(_STRIDES))
    return _flipped(vector, slice(int(rng.integers(min(stride, vector.size))), None, stride), rng)


def sdc(vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A gradient corrupted as by GPUs: zeros 50.7 %, flipped bits 48.3 %, NaN or infinity 1.0 %, in a few entries."""
    kind = rng.choice(list(_MIX), p=list(_MIX.values()))
    places = _few(vector, rng)
    if kind == "flips":
        return _flipped(vector, places, rng)
    return _with(vector, places, 0.0 if kind == "zeros" else float(rng.choice([np.nan, np.inf, -np.inf])))


CORRUPTIONS: dict[str, Corruption] = {
    "bit_flip": bit_flip,
    "nan": not_a_number,
    "inf": infinite,
    "nullify": nullify,
    "stripe": stripe,
    "sdc": sdc,
}


@dataclass(frozen=True)
class Times:
    """When faults show.

    Attributes:
        first, last: steps with faults; last = 0 is the end.
        every: steps from one fault to the next.
        mean: steps from one to the next on average, at random; None: `every` says it.
    """

    first: int
    last: int
    every: int = 1
    mean: float | None = None

    def possible(self, step: int) -> bool:
        """Whether a fault can show in a step."""
        if step < self.first or 0 < self.last < step:
            return False
        return self.mean is not None or (step - self.first) % self.every == 0

    def due(self, step: int, rng: np.random.Generator) -> bool:
        """Whether a fault shows in a step; where that is left to chance, the generator decides."""
        return self.possible(step) and (self.mean is None or bool(rng.random() < 1 / self.mean))


class Corruptor:
    """The broken processors of a rank's workers.

    Args:
        kinds: the corruption of each faulty worker of the rank, by its name in CORRUPTIONS.
        times: when they show.
        seed: of all that is random.
        repeatable: whether the input decides: the same vector is corrupted in the same way, or not at all, however
            often it is computed. Else each computation is a new draw, also the second one of a file in a step.
    """

    def __init__(self, kinds: dict[int, str], times: Times, seed: int, *, repeatable: bool) -> None:
        self._kinds = kinds
        self._times = times
        self._seed = seed
        self._repeatable = repeatable
        self._computed: dict[int, tuple[int, int]] = {}  # a worker's newest step, and what it has computed in it

    def corrupt(self, header: Header, vector: np.ndarray) -> np.ndarray:
        """What the worker has in place of the vector, (size,) float32, that it should have computed."""
        kind = self._kinds.get(header.worker)
        if kind is None:
            return vector
        rng = self._rng(header, vector)
        return CORRUPTIONS[kind](vector, rng) if self._times.due(header.step, rng) else vector

    def _rng(self, header: Header, vector: np.ndarray) -> np.random.Generator:
        """One for each worker, so that two of a group do not agree."""
        if self._repeatable:
            return stream(self._seed, "repeatable fault", header.worker, int.from_bytes(digest_of(vector)[:8]))
        step, computed = self._computed.get(header.worker, (header.step, 0))
        count = computed if step == header.step else 0
        self._computed[header.worker] = header.step, count + 1
        return stream(self._seed, "fault", header.worker, header.step, count)


def _few(vector: np.ndarray, rng: np.random.Generator) -> slice:
    """A few entries in equal distances; the first of them is not zero, where there is such a one."""
    stride, count = int(rng.choice(_STRIDES)), int(rng.integers(*_FEW, endpoint=True))
    candidates = np.flatnonzero(vector)
    first = int(rng.choice(candidates)) if candidates.size else int(rng.integers(vector.size))
    return slice(first, first + stride * count, stride)


def _with(vector: np.ndarray, places: slice, value: float) -> np.ndarray:
    changed = vector.copy()
    changed[places] = value
    return changed


def _flipped(vector: np.ndarray, places: slice, rng: np.random.Generator) -> np.ndarray:
    """With the same bits flipped in all of the places, none of which becomes NaN or infinite."""
    flipped = vector.copy()
    hit, finite = flipped.view(np.uint32)[places], np.isfinite(vector[places])
    while True:
        count = 1 if rng.random() < _SINGLE else int(rng.integers(2, 9))
        mask = np.bitwise_or.reduce(np.uint32(1) << rng.choice(32, count, replace=False, p=_LOW).astype(np.uint32))
        hit ^= mask
        if np.isfinite(flipped[places][finite]).all():
            return flipped
        hit ^= mask
