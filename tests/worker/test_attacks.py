from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.worker.attacks import ATTACKS, alie_z

OWN = np.array([1.0, -2.0, 0.5], np.float32)
KNOWN = np.array([[1.0, -2.0, 0.5], [3.0, 0.0, 0.5], [2.0, 2.0, -1.5]], np.float32)


def _attack(name, scale=None):
    kind = ATTACKS[name]
    return kind.attack(OWN, KNOWN, np.random.default_rng(1), kind.scale if scale is None else scale)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reversed", [-100, 200, -50]),
        ("constant", [-100, -100, -100]),
        ("sign_flip", [-1, 2, -0.5]),
        ("nan", [np.nan] * 3),
        ("inf", [np.inf] * 3),
    ],
)
def test_attacks_send_what_their_definition_says(name, expected):
    assert np.array_equal(_attack(name), np.array(expected, np.float32), equal_nan=True)


def test_alie_is_the_mean_plus_z_standard_deviations_of_what_is_known():
    expected = [[v.mean() + 1.5 * v.std() for v in KNOWN.astype(float).T]]
    assert np.allclose(_attack("alie", 1.5), expected)


def test_gaussian_noise_has_the_asked_for_standard_deviation():
    noise = ATTACKS["gaussian"].attack(np.zeros(100_000, np.float32), KNOWN, np.random.default_rng(0), 3.0)
    assert abs(noise.std() - 3) < 0.05
    assert abs(noise.mean()) < 0.05


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_send_float32_of_the_same_shape_and_leave_their_inputs(name):
    own, known = OWN.copy(), KNOWN.copy()
    sent = ATTACKS[name].attack(own, known, np.random.default_rng(0), 2.0)
    assert sent.dtype == np.float32
    assert sent.shape == OWN.shape
    assert not np.shares_memory(sent, own)
    assert np.array_equal(own, OWN)
    assert np.array_equal(known, KNOWN)


def test_the_z_of_alie_is_that_of_the_papers_own_example():
    # Baruch et al. 2019, section 4: n = 50, m = 24 gives s = 2 and z = Phi^-1((50 - 24 - 2) / (50 - 24)).
    assert alie_z(50, 24) == pytest.approx(NormalDist().inv_cdf(24 / 26))
    assert alie_z(45, 5) == pytest.approx(NormalDist().inv_cdf(22 / 40))


@given(st.integers(3, 200))
def test_more_colluders_can_hide_a_greater_z(n):
    zs = [alie_z(n, m) for m in range(1, (n - 1) // 2 + 1)]
    assert all(a <= b for a, b in pairwise(zs))
    assert np.isfinite([alie_z(n, m) for m in range(1, n + 1)]).all()
