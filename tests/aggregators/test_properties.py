"""What holds for any input: symmetry, and a bound on what f hostile vectors can do."""

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detox.aggregators import PREAGGREGATORS, RULES

settings.register_profile("rules", max_examples=25, deadline=None)
settings.load_profile("rules")

ORDERED = {"median_of_means", "bulyan", "mda"}
"""Blocks are taken in the given order; Bulyan's last picks have one neighbour, so that pairs tie; and many
subsets have the same diameter, that of one pair."""
TRANSLATED = set(RULES) - {"cge", "sign_majority"}
SCALED = set(RULES) - {"sign_majority"}

seeds = st.integers(0, 2**32 - 1)


def votes(seed, n=11, d=6):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("name", sorted(set(RULES) - ORDERED))
@given(seed=seeds, f=st.integers(0, 2))
def test_order_of_the_vectors_does_not_matter(name, seed, f):
    f = min(f, RULES[name].tolerates(11))
    x = votes(seed)
    order = np.random.default_rng(seed + 1).permutation(11)
    np.testing.assert_allclose(RULES[name](x[order], f=f), RULES[name](x, f=f), rtol=1e-6, atol=1e-7)


@given(seed=seeds, f=st.integers(2, 5), huge=st.sampled_from([1e12, -1e20, 1e38]))
def test_dnc_tells_vectors_apart_beside_one_that_is_vastly_greater(seed, f, huge):
    x = votes(seed)
    x[seed % 11] = huge
    order = np.random.default_rng(seed + 1).permutation(11)
    np.testing.assert_allclose(RULES["dnc"](x[order], f=f), RULES["dnc"](x, f=f), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", sorted(TRANSLATED))
@given(seed=seeds, shift=st.floats(-100, 100))
def test_shifted_vectors_give_a_shifted_result(name, seed, shift):
    f = min(2, RULES[name].tolerates(11))
    x = votes(seed)
    np.testing.assert_allclose(RULES[name](x + shift, f=f), RULES[name](x, f=f) + shift, atol=1e-5)


@pytest.mark.parametrize("name", sorted(SCALED))
@given(seed=seeds, exponent=st.integers(-60, 60))
def test_scaled_vectors_give_a_scaled_result(name, seed, exponent):
    f = min(2, RULES[name].tolerates(11))
    x, scale = votes(seed), 2.0**exponent
    np.testing.assert_allclose(RULES[name](x * scale, f=f) / scale, RULES[name](x, f=f), rtol=1e-6, atol=1e-7)


TOLERANT = {**RULES, "nnm": PREAGGREGATORS["nnm"], "arc": PREAGGREGATORS["arc"]}
del TOLERANT["mean"]


@pytest.mark.parametrize("name", TOLERANT)
@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=seeds, width=st.sampled_from([2, 17]))
def test_up_to_f_vectors_of_anything_leave_the_result_finite(name, data, seed, width):
    stage = TOLERANT[name]
    n = data.draw(st.sampled_from([7, 8]), label="n")
    f = min(3, stage.tolerates(n))
    anything = data.draw(arrays(np.float64, (f, width), elements=st.floats()), label="hostile")
    x = np.random.default_rng(seed).normal(size=(n, width))
    x[np.random.default_rng(seed).permutation(n)[:f]] = anything
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        for fast_from in (0, 10**9):
            patch.setattr("detox.aggregators.votes.FAST_FROM", fast_from)
            for votes in (narrow, torch.from_numpy(narrow), x, torch.from_numpy(x)):
                assert np.isfinite(np.asarray(stage(votes, f=f))).all()


HOSTILE = ["huge", "spread", "shifted", "inside", "nan", "inf", "mimic", "zero", "alternating"]

BOUNDS = {
    # |result - mean of the honest| <= bound * greatest distance between two honest vectors. For rules that
    # work by coordinate it holds in each, so in the norm times sqrt(d); for Krum an elected bad vector has
    # n - 2f - 2 honest neighbours (Blanchard et al.); for the geometric median see Pillutla et al., lemma 2.
    "median": 6**0.5,
    "trimmed_mean": 6**0.5,
    "meamed": 2 * 6**0.5,
    "phocas": 2 * 6**0.5,
    "krum": 1 + (7 / 5) ** 0.5,
    "multi_krum": 1 + 2 * (7 / 5) ** 0.5,
    "bulyan": 2 * 6**0.5,
    "geometric_median": 2 * 9 / 7,
    "median_of_means": 2 * 5 / 1,
    "mda": 2,
    "centered_clipping": 1 + 6**0.5 * 2,
    "monna": 1 + 2 * 6**0.5,
    "aksel": 1 + 2 * 6**0.5,
    "smea": 4,
    "caf": 4,
}
"""Not here: mean tolerates none; cge is bounded by the honest norms, not distances; sign_majority by 1; dnc and
faba have no bound against vectors that hide each other."""


def hostile(kind, honest, f, rng):
    centre = honest.mean(axis=0)
    d = honest.shape[1]
    return {
        "huge": np.full((f, d), 1e30),
        "spread": 1e6 * rng.normal(size=(f, d)),
        "shifted": centre + 3 * honest.std() + 0.01 * rng.normal(size=(f, d)),
        "inside": np.repeat(honest[:1], f, axis=0),
        "nan": np.full((f, d), np.nan),
        "inf": np.full((f, d), -np.inf),
        "mimic": -centre + 0 * rng.normal(size=(f, d)),
        "zero": np.zeros((f, d)),
        "alternating": np.outer((-1.0) ** np.arange(f), np.full(d, 1e12)),
    }[kind]


@pytest.mark.parametrize("name", BOUNDS)
@given(seed=seeds, kind=st.sampled_from(HOSTILE), spread=st.floats(0.01, 10), f=st.integers(1, 2))
def test_hostile_vectors_stay_within_the_bound(name, seed, kind, spread, f):
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=6) + spread * rng.normal(size=(11 - f, 6))
    x = np.concatenate([honest, hostile(kind, honest, f, rng)])
    x = x[rng.permutation(11)]
    result = RULES[name](x, f=f)
    diameter = max(np.linalg.norm(a - b) for a in honest for b in honest)
    assert np.linalg.norm(result - honest.mean(axis=0)) <= BOUNDS[name] * diameter


@given(seed=seeds, kind=st.sampled_from(HOSTILE))
def test_cge_is_bounded_by_the_honest_norms(seed, kind):
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(9, 6))
    x = np.concatenate([hostile(kind, honest, 2, rng), honest])
    assert np.linalg.norm(RULES["cge"](x, f=2)) <= np.linalg.norm(honest, axis=1).max() * (1 + 1e-9)


@given(seed=seeds, kind=st.sampled_from(HOSTILE))
def test_signs_that_the_honest_agree_on_stand(seed, kind):
    rng = np.random.default_rng(seed)
    honest = np.abs(rng.normal(size=(9, 6))) + 0.1
    x = np.concatenate([hostile(kind, honest, 2, rng), honest])
    np.testing.assert_array_equal(RULES["sign_majority"](x, f=2), np.ones(6))


@given(
    values=st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=7, max_size=7),
    name=st.sampled_from(sorted(set(RULES) - {"sign_majority"})),
)
def test_many_equal_coordinates_are_no_trouble(values, name):
    x = np.array(values, np.float64)
    f = min(1, RULES[name].tolerates(7))
    result = RULES[name](x, f=f)
    assert np.isfinite(result).all()
    assert (result >= x.min(axis=0) - 1e-9).all()
    assert (result <= x.max(axis=0) + 1e-9).all()


@given(seed=seeds)
def test_geometric_median_has_no_better_neighbour(seed):
    x = votes(seed)
    y = RULES["geometric_median"](x, f=2)
    cost = np.linalg.norm(x - y, axis=1).sum()
    for step in np.random.default_rng(seed).normal(size=(20, 6)):
        other = y + 1e-3 * step
        assume(np.isfinite(other).all())
        assert np.linalg.norm(x - other, axis=1).sum() >= cost - 1e-12


@pytest.mark.parametrize("hostile", [0, 1e38, np.nan])
def test_geometric_median_of_many_short_vectors_balances_them(hostile):
    """Their inner products in pairs would take 20 GB."""
    x = np.random.default_rng(0).normal(size=(50_000, 3)) + 5
    x[:10_000] = hostile
    y = RULES["geometric_median"](x, f=10_000)
    counted = x[np.isfinite(x).all(axis=1)]
    pulls = (counted - y) / np.linalg.norm(counted - y, axis=1)[:, None]
    assert np.linalg.norm(pulls.sum(axis=0)) < 1e-6
    assert np.linalg.norm(y - 5) < (0.05 if np.isnan(hostile) else 1)


@given(values=st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=3, max_size=12))
@example(values=[[0, 0], [1, 2], [2, 0], [2, -1], [2, -2]])  # the mean of the closest half is one of them
def test_geometric_median_is_as_good_as_each_of_the_vectors(values):
    """Where it is one of them, and where the search starts at one that it is not."""
    x = np.array(values, np.float64)
    cost = lambda y: np.linalg.norm(x - y, axis=1).sum()  # noqa: E731
    reached = cost(RULES["geometric_median"](x))
    assert reached <= (1 + 1e-6) * min(cost(v) for v in x) + 1e-9
    wide = RULES["geometric_median"](np.pad(x, ((0, 0), (0, 20))))  # more columns than vectors: by inner products
    assert reached == pytest.approx(cost(wide[:2]), rel=1e-6, abs=1e-9)
