import itertools
import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detox.ps.diagnosis import diagnose
from detox.worker.corruption import CORRUPTIONS

FLOATS = st.floats(width=32)
TENSORS = [("conv.weight", 7), ("conv.bias", 2), ("fc.weight", 40)]


def _order(x):
    """How many float32 there are from 0 to x, with its sign: by the definition of the format."""
    magnitude = int(np.float32(abs(x)).view(np.uint32))
    return -magnitude if math.copysign(1, x) < 0 else magnitude


def _slow(right, wrong):
    hit = [i for i in range(len(right)) if right[i : i + 1].tobytes() != wrong[i : i + 1].tobytes()]
    zeros = [i for i in hit if wrong[i] == 0 and right[i] != 0]
    nonfinite = [i for i in hit if not math.isfinite(wrong[i])]
    flips = [i for i in hit if i not in zeros and i not in nonfinite]
    masks = [int(right[i : i + 1].view(np.uint32)[0]) ^ int(wrong[i : i + 1].view(np.uint32)[0]) for i in flips]
    ends = np.cumsum([size for _, size in TENSORS])
    names = Counter(TENSORS[int(np.searchsorted(ends, i, side="right"))][0] for i in hit if i < ends[-1])
    return {
        "entries": len(hit), "zeros": len(zeros), "nonfinite": len(nonfinite), "flips": len(flips),
        "single": sum(mask.bit_count() == 1 for mask in masks),
        "bits": tuple(sum(mask >> bit & 1 for mask in masks) for bit in range(32)),
        "stride": math.gcd(*(b - a for a, b in itertools.pairwise(hit))),
        "ulps": max((abs(_order(right[i]) - _order(wrong[i])) for i in hit
                     if math.isfinite(right[i]) and math.isfinite(wrong[i])), default=0),
        "tensors": dict(names),
    }  # fmt: skip


@given(arrays(np.float32, 60, elements=FLOATS), st.dictionaries(st.integers(0, 59), FLOATS),
       st.sets(st.integers(1, 59), max_size=3))  # fmt: skip
def test_a_diagnosis_is_what_a_look_at_each_entry_says_wherever_it_is_cut(right, changes, cuts):
    wrong = right.copy()
    for place, value in changes.items():
        wrong[place] = value
    cuts = [0, *cuts, 60]
    found = diagnose([(i, right[i:j], wrong[i:j]) for i, j in itertools.pairwise(sorted(cuts))], TENSORS)
    expected = _slow(right, wrong)
    assert {**{name: getattr(found, name) for name in expected}, "tensors": dict(found.tensors)} == expected
    counts = [count for _, count in found.tensors]
    assert counts == sorted(counts, reverse=True)
    assert found.entries == found.zeros + found.nonfinite + found.flips
    assert found.examined == found.differing == 60


def test_parts_of_vectors_keep_their_places():
    right = np.ones(49, np.float32)
    wrong = right.copy()
    wrong[[3, 8, 18, 48]] = 2
    parts = [(begin, right[begin:end], wrong[begin:end]) for begin, end in ((7, 20), (40, 49))]
    found = diagnose(parts, TENSORS, differing=40)
    assert found.entries == 3
    assert found.stride == 10
    assert dict(found.tensors) == {"conv.bias": 1, "fc.weight": 2}
    assert (found.examined, found.differing) == (22, 40)


def test_memory_is_for_one_part_whatever_the_number_of_parts():
    right = np.random.default_rng(1).standard_normal(20000).astype(np.float32)

    def peak(parts):
        tracemalloc.start()
        diagnose(((i * right.size, right, -right * np.float32(1.5)) for i in range(parts)), TENSORS)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # what is made once
    assert peak(30) < 1.2 * peak(1) < 130 * right.size


@pytest.mark.parametrize("name", ["nullify", "stripe", "nan", "inf", "bit_flip"])
def test_each_corruption_is_told_by_its_diagnosis(name):
    right = np.random.default_rng(1).standard_normal(4000).astype(np.float32)
    for seed in range(20):
        found = diagnose([(0, right, CORRUPTIONS[name](right, np.random.default_rng(seed)))])
        kind = {"nullify": "zeros", "nan": "nonfinite", "inf": "nonfinite"}.get(name, "flips")
        assert found.entries == getattr(found, kind) > 0
        if name in ("nullify", "stripe") and found.entries > 1:
            assert found.stride in (2, 4, 8, 16)
        if name == "stripe":
            assert set(found.bits) == {0, found.entries}
