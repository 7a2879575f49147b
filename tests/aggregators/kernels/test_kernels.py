"""The kernels against the array API's plain version of the same operations."""

import numpy as np
import pytest
import torch

from detox.aggregators import stored
from detox.aggregators.geometry import clearance, settled, squared_distances
from detox.aggregators.kernels.fast import FastRows
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
    monkeypatch.setattr(stored, "BLOCK", 4096)
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
    monkeypatch.setattr(stored, "BLOCK", 4096)
    slow, quick = both(n, d)
    chosen = np.array([i for i in range(n) if n <= 12 or i not in (3, 4, 5, 6)])[::-1]
    slow, quick = slow.select(chosen), quick.select(chosen)
    extra = slow.x[0]
    for e in ((), (extra,)):
        wide = np.stack([*plain(slow.x)[chosen], *map(plain, e)])
        squares = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
        np.testing.assert_allclose(quick.gram(*e, precise=True), wide @ wide.T, rtol=1e-12, atol=1e-11 * d)
        np.testing.assert_allclose(squared_distances(slow.gram(*e)), squares, rtol=1e-12, atol=1e-11 * d)
        np.testing.assert_allclose(squared_distances(quick.gram(*e)), squares, rtol=1e-6, atol=1e-11 * d)
    np.testing.assert_allclose(quick.squared_norms(), slow.squared_norms(), rtol=1e-12)
    weights = np.random.default_rng(1).random((3, len(chosen) + 1)) * (np.arange(len(chosen) + 1) % 3 > 0)
    for result, expected in (
        (quick.mix(weights, extra), slow.mix(weights, extra)),
        (quick.combine(weights[0, :-1]), slow.combine(weights[0, :-1])),
    ):
        np.testing.assert_allclose(plain(result), plain(expected), rtol=2 * both.ulp, atol=4e-6)


def spread(kind, x):
    """Change (15, d) votes; the last five may be hostile."""
    half = x.shape[1] // 2
    if kind == "close":
        x[:] = x[0] + 1e-4 * x
    elif kind == "tiny":
        x *= np.float32(1e-36)
    elif kind == "great":
        x *= np.float32(1e36)
    elif kind == "opposite":
        x[10::2], x[11::2] = 3e38, -3e38
    elif kind == "one huge":
        x[10:, half] = 3e38
    elif kind == "central at first":
        x[10:, :half] = x[:10, :half].mean(axis=0)
        x[10:, half:] = 1e20
    elif kind == "constant":
        x[:] = np.arange(15, dtype=np.float32)[:, None] / 3
    elif kind == "frozen":
        x[:, :half] = 0
    return x


@pytest.mark.parametrize(
    "kind", ["normal", "close", "tiny", "great", "opposite", "one huge", "central at first", "constant", "frozen"]
)
@pytest.mark.parametrize("d", [16, 1600, 5003])
def test_distances_are_as_good_as_the_definition_beside_any_hostile_vectors(kind, d):
    x = spread(kind, np.random.default_rng(0).normal(size=(15, d)).astype(np.float32))
    wide = x.astype(np.float64)
    expected = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    squares = squared_distances(FastRows(x).gram())
    radii = np.linalg.norm(wide - np.median(wide, axis=0), axis=1)
    from_point = radii + np.median(radii)  # a bound on the distance to the point that the kernel takes off
    assert (np.abs(squares - expected) <= 1e-6 * (from_point[:, None] + from_point) ** 2).all()


def test_a_decision_too_close_for_float32_falls_in_float64():
    x = np.random.default_rng(0).normal(size=(15, 4000)).astype(np.float32)
    asked = []

    class Counted(FastRows):
        def gram(self, *extra, precise=False):
            asked.append(precise)
            return super().gram(*extra, precise=precise)

    def choose(gap):
        return lambda squares: (squares, gap)

    rows = Counted(x)
    for gap in (np.inf, 1e-3, 0.0):
        settled(rows, choose(gap))
    assert not any(asked)
    np.testing.assert_array_equal(settled(rows, choose(1e-9)), squared_distances(FastRows(x).gram(precise=True)))
    assert asked[-2:] == [False, True]
    assert clearance(np.array([1.0, 4.0, 2.0, 2.0]), 1) == 0.5
    assert clearance(np.array([1.0, 4.0, 2.0, 2.0]), 2) == 0.5  # of two that tie, unless the first is their equal
    assert clearance(np.array([1.0, 1.0, 1.0]), 2) == np.inf
    assert clearance(np.array([0.0, 0.0, 1.0]), 1) == np.inf
    assert clearance(np.array([1.0, np.inf, np.inf]), 1) == np.inf
    assert clearance(np.array([1.0, 2.0]), 2) == np.inf


@pytest.mark.parametrize(("n", "d"), [(1, 64), (15, 2001), (45, 130), (7, 40)])
def test_means_of_sets_that_share_most_of_their_rows(both, n, d, monkeypatch):
    monkeypatch.setattr(stored, "BLOCK", 4096)
    chosen = np.array([i for i in range(n) if n <= 12 or i not in (3, 4, 5, 6)])
    slow, quick = (rows.select(chosen) for rows in both(n, d))
    rng = np.random.default_rng(2)
    sets = [np.sort(rng.choice(len(chosen), max(1, len(chosen) - 2), replace=False)) for _ in range(n)]
    np.testing.assert_allclose(plain(quick.set_means(sets)), plain(slow.set_means(sets)), rtol=2 * both.ulp, atol=4e-6)


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
