"""How two vectors differ that should be equal, in the terms in which faults of hardware are described."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TENSORS = 5  # that are named


@dataclass(frozen=True)
class Diagnosis:
    """How a claimed vector differs from the right one, entry by entry.

    Attributes:
        entries: that differ, in bits.
        zeros: of these, are +0.0 or -0.0 in what was claimed, and are not in the other.
        nonfinite: of these, are NaN or infinite in what was claimed.
        flips: of these, all others.
        single: of the flips, have one bit flipped.
        bits: of the flips, how many have bit i flipped, for i = 0 (the lowest of the mantissa) to 31 (the sign).
        stride: the greatest number that the distances of all that differ are multiples of; 0 where one entry does.
        ulps: the most representable numbers that one entry is away from the right one, both finite.
        tensors: name, and how many entries of it differ, the most first; at most five.
        examined: entries that were compared.
        differing: entries in all pieces that differ; more than examined where these were too many to be sent.
    """

    entries: int
    zeros: int
    nonfinite: int
    flips: int
    single: int
    bits: tuple[int, ...]
    stride: int
    ulps: int
    tensors: tuple[tuple[str, int], ...]
    examined: int
    differing: int


def diagnose(
    right: np.ndarray,
    wrong: np.ndarray,
    tensors: Sequence[tuple[str, int]] = (),
    places: np.ndarray | None = None,
    differing: int | None = None,
) -> Diagnosis:
    """Compares what was claimed with what it should have been.

    Args:
        right, wrong: (k,) float32, entries of two vectors.
        tensors: name and entries of each tensor in a vector, in order.
        places: (k,) int64, where in the vectors they are, ascending; None: they are the first.
        differing: entries in all pieces that differ; None: k.
    """
    one, other = (np.ascontiguousarray(vector, np.float32).view(np.uint32) for vector in (right, wrong))
    hit = np.flatnonzero(one != other)
    at = hit if places is None else places[hit]
    before, after = right[hit], wrong[hit]
    zeros = (after == 0) & (before != 0)
    nonfinite = ~np.isfinite(after)
    masks = (one[hit] ^ other[hit])[~zeros & ~nonfinite]
    bits = (masks[:, None] >> np.arange(32, dtype=np.uint32) & 1).astype(bool)
    both = np.isfinite(before) & np.isfinite(after)
    return Diagnosis(
        entries=hit.size,
        zeros=int(zeros.sum()),
        nonfinite=int(nonfinite.sum()),
        flips=masks.size,
        single=int((bits.sum(axis=1) == 1).sum()),
        bits=tuple(bits.sum(axis=0).tolist()),
        stride=int(np.gcd.reduce(np.diff(at))) if hit.size > 1 else 0,
        ulps=int(np.abs(_order(one[hit][both]) - _order(other[hit][both])).max(initial=0)),
        tensors=_names(at, tensors),
        examined=one.size,
        differing=one.size if differing is None else differing,
    )


def _order(bits: np.ndarray) -> np.ndarray:
    """The place of finite float32 numbers, by their bits, among all that there are: +0 and -0 are one."""
    magnitude = (bits & np.uint32(0x7FFFFFFF)).astype(np.int64)
    return np.where(bits >> np.uint32(31), -magnitude, magnitude)


def _names(at: np.ndarray, tensors: Sequence[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    ends = np.cumsum([entries for _, entries in tensors])
    index, counts = np.unique(np.searchsorted(ends, at, side="right"), return_counts=True)
    found: Counter[str] = Counter()
    for tensor, count in zip(index.tolist(), counts.tolist(), strict=True):
        if tensor < len(tensors):
            found[tensors[tensor][0]] += count
    return tuple(found.most_common(_TENSORS))
