"""How two vectors differ that should be equal, in the terms in which faults of hardware are described."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_TENSORS = 5  # that are named
_BITS_OF_BYTE = np.arange(256)[:, None] >> np.arange(8) & 1


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
    parts: Iterable[tuple[int, np.ndarray, np.ndarray]],
    tensors: Sequence[tuple[str, int]] = (),
    differing: int | None = None,
) -> Diagnosis:
    """Compares what was claimed with what it should have been, in memory for one part and not for all.

    Args:
        parts: of the vectors, in order: where the part begins, (k,) float32 of the right one, and of the claimed one.
        tensors: name and entries of each tensor in a vector, in order.
        differing: entries in all pieces that differ; None: those of the parts.
    """
    edges = np.cumsum([0, *(entries for _, entries in tensors)])
    names = np.zeros(len(tensors), np.int64)
    bits = np.zeros(32, np.int64)
    entries = zeros = nonfinite = flips = single = stride = ulps = examined = 0
    first = None
    for begin, right, wrong in parts:
        one, other = (np.ascontiguousarray(vector, np.float32).view(np.uint32) for vector in (right, wrong))
        examined += one.size
        hit = np.flatnonzero(one != other)
        if not hit.size:
            continue
        before, after = right[hit], wrong[hit]
        finite = np.isfinite(after)
        zero = (after == 0) & (before != 0)
        masks = (one[hit] ^ other[hit])[finite & ~zero]
        entries += hit.size
        zeros += int(zero.sum())
        nonfinite += hit.size - int(finite.sum())
        flips += masks.size
        single += int((masks & (masks - np.uint32(1)) == 0).sum())  # none is 0
        bits += _bits(masks)
        at = begin + hit
        first = int(at[0]) if first is None else first
        if stride != 1:
            stride = math.gcd(stride, int(np.gcd.reduce(at - first)))
        both = finite & np.isfinite(before)
        ulps = max(ulps, int(np.abs(_order(one[hit][both]) - _order(other[hit][both])).max(initial=0)))
        names += np.diff(np.searchsorted(at, edges))
    return Diagnosis(
        entries=entries,
        zeros=zeros,
        nonfinite=nonfinite,
        flips=flips,
        single=single,
        bits=tuple(bits.tolist()),
        stride=stride,
        ulps=ulps,
        tensors=_named(tensors, names),
        examined=examined,
        differing=examined if differing is None else differing,
    )


def _bits(masks: np.ndarray) -> np.ndarray:
    """(32,) int64: how many of (k,) uint32 have each bit, the lowest first."""
    octets = masks.astype("<u4", copy=False).view(np.uint8).reshape(-1, 4)
    return np.concatenate([np.bincount(octets[:, i], minlength=256) @ _BITS_OF_BYTE for i in range(4)])


def _order(bits: np.ndarray) -> np.ndarray:
    """The place of finite float32 numbers, by their bits, among all that there are: +0 and -0 are one."""
    magnitude = (bits & np.uint32(0x7FFFFFFF)).astype(np.int64)
    return np.where(bits >> np.uint32(31), -magnitude, magnitude)


def _named(tensors: Sequence[tuple[str, int]], counts: np.ndarray) -> tuple[tuple[str, int], ...]:
    found: Counter[str] = Counter()
    for index in np.flatnonzero(counts).tolist():
        found[tensors[index][0]] += int(counts[index])
    return tuple(found.most_common(_TENSORS))
