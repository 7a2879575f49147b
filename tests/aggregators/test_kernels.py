"""The kernels against the array API's plain version of the same operations."""

import numpy as np
import pytest
import torch

from detox.aggregators import fast
from detox.aggregators.fast import FastRows
from detox.aggregators.rows import Rows

SHAPES = [(1, 16), (2, 40), (8, 16), (15, 2000), (45, 130), (64, 33), (130, 300)]


@pytest.fixture(params=["numpy", "torch", "bfloat16"])
def both(request):
    def make(n, d):
        wide = np.random.default_rng(n).normal(size=(n, d + 7)).astype(np.float32)
        if n > 12:
            wide[3], wide[4], wide[5], wide[6] = np.nan, -np.float32(np.nan), 3e38, -np.inf
        x = wide if request.param == "numpy" else torch.from_numpy(wide)
        x = (x.bfloat16() if request.param == "bfloat16" else x)[:, :d]
        assert FastRows.serves(x)
        return Rows(x), FastRows(x, threads=2)

    make.ulp = 2.0**-8 if request.param == "bfloat16" else 2.0**-23
    return make


def plain(x):
    return x.double().numpy() if isinstance(x, torch.Tensor) else np.asarray(x, np.float64)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_order_statistics(both, n, d, monkeypatch):
    monkeypatch.setattr(fast, "COLUMNS", 512)
    slow, quick = both(n, d)
    f = 4 if n > 12 else (n - 1) // 3
    np.testing.assert_array_equal(plain(quick.median()), plain(slow.median()))
    np.testing.assert_array_equal(plain(quick.sign_sum()), plain(slow.sign_sum()))
    for result, expected in (
        (quick.trimmed_mean(f), slow.trimmed_mean(f)),
        (quick.nearest_mean((n - 1) // 2, n - f), slow.nearest_mean((n - 1) // 2, n - f)),
        (quick.nearest_mean(f, n - f), slow.nearest_mean(f, n - f)),
    ):
        np.testing.assert_allclose(plain(result), plain(expected), rtol=both.ulp, atol=1e-7)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_inner_products_and_weighted_sums(both, n, d, monkeypatch):
    monkeypatch.setattr(fast, "COLUMNS", 512)
    slow, quick = both(n, d)
    chosen = np.array([i for i in range(n) if n <= 12 or i not in (3, 4, 5, 6)])[::-1]
    slow, quick = slow.select(chosen), quick.select(chosen)
    extra = slow.x[0]
    for e in ((), (extra,)):
        np.testing.assert_allclose(quick.gram(*e), slow.gram(*e), rtol=1e-12, atol=1e-11 * d)
    weights = np.random.default_rng(1).random((3, len(chosen) + 1)) * (np.arange(len(chosen) + 1) % 3 > 0)
    for result, expected in (
        (quick.mix(weights, extra), slow.mix(weights, extra)),
        (quick.blend(weights[:, :-1]), slow.blend(weights[:, :-1])),
        (quick.combine(weights[0, :-1]), slow.combine(weights[0, :-1])),
    ):
        np.testing.assert_allclose(plain(result), plain(expected), rtol=2 * both.ulp, atol=4e-6)


def test_rows_of_weight_zero_are_not_read(both):
    for rows in both(15, 2000):
        weights = np.ones(15) / 11
        weights[[3, 4, 5, 6]] = 0
        assert np.isfinite(plain(rows.combine(weights))).all()


def test_nan_of_either_sign_is_greater_than_infinity(both):
    x = np.array([[-np.inf], [1.0], [2.0], [np.inf], [np.nan]], np.float32).repeat(16, axis=1)
    for nan in (x, np.where(np.isnan(x), -x, x)):
        for rows in (Rows(nan), FastRows(nan)):
            np.testing.assert_array_equal(rows.median(), np.full(16, 2.0))
            np.testing.assert_array_equal(rows.select(np.array([0, 1, 4])).median(), np.ones(16))


def test_bfloat16_is_rounded_to_nearest_even():
    x = torch.tensor([[1.0], [1.0078125]]).repeat(1, 16).bfloat16()  # the mean lies half way
    y = torch.tensor([[1.0078125], [1.015625]]).repeat(1, 16).bfloat16()
    for pair in (x, y):
        expected = pair.double().mean(dim=0).bfloat16()
        assert torch.equal(FastRows(pair).trimmed_mean(0), expected)


@pytest.mark.parametrize(
    "x",
    [
        np.ones((4, 15), np.float32),
        np.ones((4, 20)),
        np.ones((4, 40), np.float32)[:, ::2],
        np.ones((4, 20), ">f4"),
        np.ones((513, 16), np.float32),
        torch.ones(4, 20).half(),
    ],
)
def test_what_the_kernels_cannot_read_goes_the_plain_way(x):
    assert not FastRows.serves(x)
