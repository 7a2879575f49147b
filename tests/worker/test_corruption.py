from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.wire import PROBE, Header, Kind
from detox.worker.corruption import CORRUPTIONS, Corruptor, Times

GRADIENT = np.random.default_rng(0).standard_normal(1000).astype(np.float32)


def _corrupted(name, seed, vector=GRADIENT):
    return CORRUPTIONS[name](vector, np.random.default_rng(seed))


def _places(vector, before=GRADIENT):
    return np.flatnonzero(vector.view(np.uint32) != before.view(np.uint32))


def _masks(vector, before=GRADIENT):
    places = _places(vector, before)
    return vector.view(np.uint32)[places] ^ before.view(np.uint32)[places]


@pytest.mark.parametrize("name", CORRUPTIONS)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60), st.integers(0))
def test_a_corruption_changes_a_copy_of_any_vector_that_is_not_zero(name, values, seed):
    vector = np.array(values, np.float32)
    before = vector.copy()
    corrupted = _corrupted(name, seed, vector)
    assert corrupted.dtype == np.float32
    assert corrupted.shape == vector.shape
    assert vector.tobytes() == before.tobytes()
    assert corrupted.tobytes() == _corrupted(name, seed, vector).tobytes()
    if vector.any():
        assert corrupted.tobytes() != vector.tobytes()
    if name in ("bit_flip", "nullify", "stripe"):
        assert np.isfinite(corrupted).all()


@pytest.mark.parametrize("name", ["nullify", "sdc"])
def test_a_few_elements_in_equal_distances_are_corrupted(name):
    strides, most = Counter(), 0
    for seed in range(300):
        places = _places(_corrupted(name, seed))
        assert len(set(np.diff(places))) <= 1
        strides.update(np.diff(places)[:1].tolist())
        most = max(most, len(places))
    assert strides.keys() == {2, 4, 8, 16}
    assert most == 32


def test_nullified_elements_are_zero():
    corrupted = _corrupted("nullify", 1)
    assert not corrupted[_places(corrupted)].view(np.uint32).any()


def test_a_stripe_goes_through_the_whole_gradient_with_the_same_bits():
    strides = set()
    for seed in range(40):
        corrupted = _corrupted("stripe", seed)
        places = _places(corrupted)
        (stride,) = set(np.diff(places))
        assert places[0] < stride
        assert places[-1] + stride >= GRADIENT.size
        assert len(set(_masks(corrupted))) == 1
        strides.add(stride)
    assert strides == {2, 4, 8, 16}


def test_the_mix_is_that_of_gpus():
    draws, classes, single, bits = 4000, Counter(), 0, np.zeros(32)
    for seed in range(draws):
        corrupted = _corrupted("sdc", seed)
        hit = corrupted[_places(corrupted)]
        name = "zero" if not hit.view(np.uint32).any() else "finite" if np.isfinite(hit).all() else "nonfinite"
        classes[name] += 1
        if name == "finite":
            (mask,) = set(_masks(corrupted).tolist())
            single += mask.bit_count() == 1
            bits += [mask >> bit & 1 for bit in range(32)]
    # Within four standard deviations of the shares that the source gives.
    for name, share in {"zero": 0.507, "finite": 0.483, "nonfinite": 0.010}.items():
        assert abs(classes[name] / draws - share) < 4 * (share * (1 - share) / draws) ** 0.5, name
    assert 0.30 < single / classes["finite"] < 0.40
    assert bits[:8].sum() > 1.5 * bits[16:24].sum()


def _due(times, steps, seed=0):
    rng = np.random.default_rng(seed)
    return [step for step in range(steps) if times.due(step, rng)]


def test_faults_show_when_they_are_due():
    assert _due(Times(2, 0), 6) == [2, 3, 4, 5]
    assert _due(Times(2, 9, every=3), 20) == [2, 5, 8]
    assert _due(Times(4, 4), 20) == [4]
    at_random = _due(Times(1000, 0, mean=20), 21000)
    assert min(at_random) >= 1000
    assert abs(len(at_random) - 1000) < 4 * 1000**0.5
    assert len(set(np.diff(at_random))) > 10


def _header(step, worker=3, file=0):
    return Header(Kind.WORK, step, worker, file)


def test_who_computes_again_gets_another_result_unless_the_fault_is_repeatable():
    for repeatable in (False, True):
        corruptor = Corruptor({3: "stripe"}, Times(1, 0), 0, repeatable=repeatable)
        first, second = (corruptor.corrupt(_header(5), GRADIENT) for _ in range(2))
        later = corruptor.corrupt(_header(6, file=9), GRADIENT)
        assert (first.tobytes() == second.tobytes()) is repeatable
        assert (first.tobytes() == later.tobytes()) is repeatable
        assert first.tobytes() != GRADIENT.tobytes()


def test_a_repeatable_intermittent_fault_shows_on_some_inputs_always_on_others_never():
    corruptor = Corruptor({3: "bit_flip"}, Times(1, 0, mean=4), 0, repeatable=True)
    shown = []
    for i in range(400):
        vector = GRADIENT + np.float32(i)
        results = {corruptor.corrupt(_header(1 + step), vector).tobytes() for step in range(3)}
        assert len(results) == 1
        shown.append(results != {vector.tobytes()})
    assert abs(sum(shown) - 100) < 4 * 75**0.5


@pytest.mark.parametrize("repeatable", [False, True])
def test_faulty_workers_of_a_group_disagree_the_healthy_and_the_self_test_are_right(repeatable):
    corruptor = Corruptor({3: "sdc", 4: "sdc"}, Times(1, 0), 0, repeatable=repeatable)
    assert corruptor.corrupt(_header(1), GRADIENT).tobytes() != corruptor.corrupt(_header(1, 4), GRADIENT).tobytes()
    for header in (_header(PROBE), _header(1, worker=5)):
        assert corruptor.corrupt(header, GRADIENT) is GRADIENT


@pytest.mark.parametrize("repeatable", [False, True])
def test_a_run_is_repeated_bit_for_bit_and_the_seed_makes_another(repeatable):
    def of(seed):
        corruptor = Corruptor({3: "sdc"}, Times(1, 0, mean=2), seed, repeatable=repeatable)
        return [corruptor.corrupt(_header(step), GRADIENT + np.float32(step)).tobytes() for step in range(1, 20)]

    assert of(0) == of(0)
    assert of(0) != of(1)
