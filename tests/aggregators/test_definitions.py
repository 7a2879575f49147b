"""Every rule against its definition, in every form of the votes."""

import itertools
import math

import numpy as np
import pytest
import torch
from definitions import (
    ORACLES,
    PRE_ORACLES,
    RULE_ORACLES,
    bulyan_released,
    distance,
    krum_scores,
    mda,
    nearest_first,
    nnm,
)

from detox.aggregators import PREAGGREGATORS, RULES
from detox.aggregators.geometry import squared_distances
from detox.aggregators.votes import as_rows

N, D = 15, 23


STAGES = RULES | PREAGGREGATORS

HOSTILE = {
    "none": lambda honest, k: honest[k],
    "nan": lambda honest, k: np.full(D, np.nan, np.float32),
    "minus nan": lambda honest, k: -np.full(D, np.nan, np.float32),
    "one nan": lambda honest, k: np.where(np.arange(D) == k, np.nan, honest[k]).astype(np.float32),
    "inf": lambda honest, k: np.full(D, [np.inf, -np.inf][k % 2], np.float32),
    "huge": lambda honest, k: np.full(D, [1e38, -1e38][k % 2], np.float32),
    "one huge": lambda honest, k: np.where(np.arange(D) == k, 3e38 / (1 + k), honest[k]).astype(np.float32),
    "denormal": lambda honest, k: np.full(D, 1e-42, np.float32),
    "zero": lambda honest, k: np.zeros(D, np.float32),
    "duplicate": lambda honest, k: honest[5],
}


def votes(kind, f, n=N, seed=0):
    honest = (np.random.default_rng(seed).normal(size=(n, D)) + 0.5).astype(np.float32)
    x = honest.copy()
    for k, i in enumerate([7, 0, 14, 3, 9][:f]):
        x[i] = HOSTILE[kind](honest, k)
    return x


def test_every_rule_has_an_oracle():
    assert set(RULE_ORACLES) == set(RULES)
    assert set(PRE_ORACLES) == set(PREAGGREGATORS)


WHOLE = {
    "all equal": lambda x: np.broadcast_to(x[0], x.shape),
    "two clusters": lambda x: x[[0, 1] * (N // 2) + [0]],
    "all huge": lambda x: x * np.float32(1e36),
    "all denormal": lambda x: np.round(x * 1000) * np.float32(1e-42),
    "four huge": lambda x: np.where(np.arange(N)[:, None] < 4, np.float32(1e38), x),
}
"""What is done to all votes, of which none need be hostile; the last takes four, and f is 4 there."""


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


FORMS = {
    # What the rule is given, and from how many elements on kernels are taken.
    "array API": (np.array, 10**9),
    "kernels": (np.array, 0),
    "Fortran order": (np.asfortranarray, 0),
    "strided rows": (lambda x: np.repeat(x, 2, axis=0)[::2], 0),
    "strided columns": (lambda x: np.repeat(x, 2, axis=1)[:, ::2], 0),
    "backwards": (lambda x: x[::-1, ::-1].copy()[::-1, ::-1], 0),
    "other byte order": (lambda x: x.astype(x.dtype.newbyteorder("S")), 0),
    "read-only": (read_only, 0),
    "float64": (lambda x: x.astype(np.float64), 0),
    "torch": (lambda x: torch.tensor(x), 0),
    "torch, no kernels": (lambda x: torch.tensor(x), 10**9),
    "torch float64": (lambda x: torch.tensor(x, dtype=torch.float64), 0),
    "torch transposed": (lambda x: torch.tensor(x.T).T, 0),
    "requires_grad": (lambda x: torch.tensor(x, requires_grad=True), 0),
}


def check_forms(name, x, f, monkeypatch, compare=True):
    """The rule gives its definition's result whatever form the votes come in, and changes nothing of them."""
    with np.errstate(invalid="ignore", over="ignore"):
        expected = ORACLES[name](x.astype(np.float64), f)
    atol = 2e-6 * max(1, np.median(np.abs(x[np.isfinite(x)])))
    for form, (make, fast_from) in FORMS.items():
        monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", fast_from)
        given = make(x)
        result = STAGES[name](given, f=np.uint8(f))
        assert type(result) is (torch.Tensor if isinstance(given, torch.Tensor) else np.ndarray)
        assert result.dtype == (given.dtype if isinstance(given, torch.Tensor) else given.dtype.newbyteorder("="))
        np.testing.assert_array_equal(np.asarray(given.detach() if isinstance(given, torch.Tensor) else given), x)
        result = np.asarray(result)
        assert np.isfinite(result).all() or not np.isfinite(expected).all(), form
        if compare:
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=atol, err_msg=form)


@pytest.mark.parametrize("kind", HOSTILE | WHOLE)
@pytest.mark.parametrize("name", STAGES)
def test_rule_equals_its_definition(name, kind, monkeypatch):
    f = min(4 if kind == "four huge" else 3, STAGES[name].tolerates(N))
    x = WHOLE[kind](votes("none", 0)) if kind in WHOLE else votes(kind, f)
    # Beside 3e38 the projections of all others are rounding errors.
    check_forms(name, x, f, monkeypatch, compare=name != "dnc" or "huge" not in kind or kind == "all huge")


SIZES = [
    (name, n)
    for name in STAGES
    for n in (1, 2, 3, 4, 7, 8, 16, 33)
    if STAGES[name].tolerates(n) >= 0 and name not in ("smea", "mda")  # their oracles try every subset
]


@pytest.mark.parametrize(("name", "n"), SIZES)
def test_rule_equals_its_definition_for_few_and_many_vectors(name, n, monkeypatch):
    f = min(3, STAGES[name].tolerates(n))
    x = np.random.default_rng(n).normal(size=(n, D)).astype(np.float32)
    for d in (1, 17, D) if n < 16 else (D,):
        part = np.ascontiguousarray(x[:, :d])
        expected = ORACLES[name](part.astype(np.float64), f)
        for form in ("kernels", "torch float64"):
            make, fast_from = FORMS[form]
            monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", fast_from)
            result = np.asarray(STAGES[name](make(part), f=f))
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5, err_msg=f"{form}, d = {d}")


@pytest.mark.parametrize("f", range(4))
@pytest.mark.parametrize("name", ["smea", "mda"])
def test_search_over_subsets_finds_the_least(name, f):
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=(9, 4)).astype(np.float32)
        np.testing.assert_allclose(RULES[name](x, f=f), ORACLES[name](x.astype(np.float64), f), atol=1e-6)


def test_ties_go_to_the_lower_index():
    x = np.array([[1.0], [0.0], [2.0], [3.0], [1.0], [2.0], [0.0]], np.float32)
    for name in ("krum", "mda", "multi_krum"):
        np.testing.assert_allclose(RULES[name](x, f=2), ORACLES[name](x.astype(np.float64), 2), atol=1e-6)
    same = np.ones((7, 20), np.float32)
    for name in RULES:
        np.testing.assert_array_equal(RULES[name](same, f=RULES[name].tolerates(7) // 2), same[0])


def test_options_change_neighbours_and_m():
    x = votes("none", 0)
    wide = x.astype(np.float64)
    scores = krum_scores(wide, N - 3 - 1)
    np.testing.assert_array_equal(RULES["krum"](x, f=3, neighbours=N - 4), x[int(np.argmin(scores))])
    best = wide[nearest_first(scores)[: N - 3]].mean(axis=0)
    np.testing.assert_allclose(RULES["multi_krum"](x, f=3, neighbours=N - 4, m=N - 3), best, rtol=1e-5)


@pytest.mark.parametrize("kind", ["none", "huge", "nan"])
@pytest.mark.parametrize("f", [0, 1, 2, 3])
def test_bulyan_scored_once_is_that_of_the_released_code(kind, f):
    x = votes(kind, f)
    expected = bulyan_released(x.astype(np.float64), f)
    np.testing.assert_allclose(RULES["bulyan"](x, f=f, scoring="once"), expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(RULES["bulyan"](x, f=f), expected)


def test_reference_vectors_are_used():
    x = votes("huge", 3)
    trusted = x[4] + np.float32(0.01)
    near = nearest_first([distance(v, trusted.astype(float)) for v in x.astype(np.float64)])[: N - 3]
    np.testing.assert_allclose(RULES["monna"](x, f=3, trusted=trusted), x[near].mean(axis=0), rtol=1e-4)
    v = x[4].astype(np.float64)
    for _ in range(3):
        steps = [(a - v) * min(1, 0.5 / max(math.sqrt(distance(a, v)), 1e-30)) for a in x.astype(np.float64)]
        v = v + np.mean(steps, axis=0)
    result = RULES["centered_clipping"](x, f=3, previous=x[4], tau=0.5, iterations=3)
    np.testing.assert_allclose(result, v, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "spread"), [(np.float32, 1e-4), (np.float64, 1e-8)])
def test_honest_vectors_that_are_close_elect_the_true_krum_winner(kind, spread):
    """With float32 distances at 1e-4, or float64 products about 0 at 1e-8, the winner is a random one."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        centre = rng.normal(size=2000)
        x = (centre + spread * rng.normal(size=(N, 2000))).astype(kind)
        x[2], x[9] = 1e38, -1e38
        wide = x.astype(np.float64)
        squares = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
        winner = np.argmin(np.sort(squares, axis=1)[:, 1 : 1 + N - 4].sum(axis=1))
        for given in (x, torch.from_numpy(x)):
            np.testing.assert_array_equal(RULES["krum"](given, f=2), x[winner])


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_mda_finds_the_least_diameter_of_vectors_in_any_library(make):
    for seed in (28, *range(20)):
        x = np.random.default_rng(seed).normal(size=(10, 40))
        np.testing.assert_allclose(RULES["mda"](make(x), f=4), mda(x, 4), rtol=1e-12)


def test_distances_are_symmetric_whatever_the_library_makes_of_a_product():
    gram = np.array([[1.0, 0.5 + 1e-16, 0.2], [0.5, 1.0, 0.3], [0.2 + 1e-16, 0.3, 1.0]])
    squares = squared_distances(gram)
    np.testing.assert_array_equal(squares, squares.T)
    x = torch.from_numpy(np.random.default_rng(28).normal(size=(10, 40)))
    gram = as_rows(x).gram()
    np.testing.assert_array_equal(gram, gram.T)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("d", [1, 3, 40])
@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_geometric_median_is_the_middle_of_three_on_a_line(make, d, order):
    x = np.zeros((3, d))
    x[list(order), 0] = 0, 1, 1e20
    for name in ("geometric_median", "median_of_means"):
        np.testing.assert_array_equal(RULES[name](make(x), f=1), make(np.eye(1, d)[0]))


PATTERNS = ["aabb", "abab", "abba", "bbaa", "aaabbb", "abbaba"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 17, 40])
def test_of_vectors_equally_near_to_the_median_the_lower_index_counts(d, dtype, monkeypatch):
    monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", 0)
    for seed, shift in itertools.product(range(4), (0, 1, 300)):
        a, b = (np.random.default_rng(seed).normal(size=(2, d)) + shift).astype(dtype)
        for pattern in PATTERNS:
            x = np.stack([a if letter == "a" else b for letter in pattern])
            for name, m in (("aksel", (len(x) + 1) // 2), ("monna", len(x) - 1)):
                expected = x[:m].astype(np.float64).mean(axis=0)
                for given in (x, torch.from_numpy(x)):
                    result = np.asarray(RULES[name](given, f=1), np.float64)
                    np.testing.assert_allclose(result, expected, rtol=1e-6 if dtype != np.float16 else 1e-3)


@pytest.mark.parametrize("where", [slice(None), 3, -1], ids=["everywhere", "sampled", "not sampled"])
@pytest.mark.parametrize("c", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_dnc_drops_first_what_is_not_finite(value, c, where):
    x = np.random.default_rng(0).normal(size=(15, 10_200)).astype(np.float32)
    x[2:6, where] = value
    for given in (x, torch.from_numpy(x)):
        result = np.asarray(RULES["dnc"](given, f=4, c=c))
        assert np.isfinite(result).all()
        if where != -1:
            np.testing.assert_allclose(result, x[[i for i in range(15) if not 2 <= i < 6]].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("d", [12, 200, 10_200])
def test_more_hostile_vectors_than_a_rule_tolerates_end_in_no_traceback(d, monkeypatch):
    monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", 0)
    x = np.full((7, d), np.nan, np.float32)
    for stage in STAGES.values():
        for given in (x, torch.from_numpy(x), x.astype(np.float64)):
            assert stage(given, f=min(1, stage.tolerates(7))).shape[-1] == d


@pytest.mark.parametrize("d", [16, 63, 64, 130])
@pytest.mark.parametrize("huge", [1e38, -3.4e38])
def test_means_of_values_whose_sum_is_too_great(huge, d, monkeypatch):
    monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", 0)
    x = np.random.default_rng(0).normal(size=(15, d)).astype(np.float32)
    x[3:7] = huge
    for given in (x, torch.from_numpy(x)):
        mixed = np.asarray(PREAGGREGATORS["nnm"](given, f=4), np.float64)
        np.testing.assert_allclose(mixed, nnm(x.astype(np.float64), 4), rtol=1e-5, atol=1e-5)
    for dtype, value in ((np.float32, huge), (np.float64, np.float64(huge) * 1e95), (np.float64, 1.7e308)):
        same = np.full((15, d), value, dtype)
        for name in set(STAGES) - {"sign_majority"}:
            if value == 1.7e308 and name in ("clipping", "arc"):
                continue  # their squared norms are too great
            for given in (same, torch.from_numpy(same)):
                result = np.asarray(STAGES[name](given, f=0))
                np.testing.assert_allclose(result, np.full(result.shape, value), rtol=1e-6)
