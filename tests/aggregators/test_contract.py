"""What every registered rule and pre-aggregator keeps to, whatever it computes."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from detox.aggregators import PREAGGREGATORS, RULES, AggregatorError, stored, tolerates

STAGES = RULES | PREAGGREGATORS
N, D = 11, 90
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.fixture(params=["array API", "kernels"])
def path(request, monkeypatch):
    monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", 10**9 if request.param == "array API" else 0)
    return request.param


def votes(d=D):
    x = np.random.default_rng(3).normal(size=(N, d)).astype(np.float32)
    x[6, :5] = np.nan
    x[1] = 1e38
    return x


def faults(name):
    return min(2, STAGES[name].tolerates(N))


def vectors(name, x):
    """without hostile rows for what does not tolerate them."""
    if name in ("mean", "bucketing", "clipping"):
        x[1], x[6] = x[0], x[2]
    return x


@pytest.mark.parametrize("name", STAGES)
def test_input_stays_and_output_is_new(name, path):
    x = vectors(name, votes())
    before = x.copy()
    x.flags.writeable = False
    result = STAGES[name](x, f=faults(name))
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(result, x)
    assert result.flags.writeable
    assert result.dtype == np.float32
    assert result.shape == ((D,) if name in RULES else (-(-N // 2) if name == "bucketing" else N, D))


@pytest.mark.parametrize("name", STAGES)
def test_rows_of_a_wider_array_are_as_good_as_an_array_of_their_own(name, path):
    wide = np.full((N, D + 13), np.nan, np.float32)
    x = vectors(name, votes())
    wide[:, :D] = x
    np.testing.assert_array_equal(STAGES[name](wide[:, :D], f=faults(name)), STAGES[name](x, f=faults(name)))
    tensor = STAGES[name](torch.from_numpy(wide)[:, :D], f=faults(name))
    np.testing.assert_allclose(tensor, STAGES[name](x, f=faults(name)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", STAGES)
def test_many_columns_give_what_float64_gives(name):
    """100,003: several chunks, and a last one that is narrow; in float64 the plain way, as the definitions test it."""
    x = vectors(name, votes(100_003))
    expected = STAGES[name](x.astype(np.float64), f=faults(name))
    for given in (x, torch.from_numpy(x)):
        np.testing.assert_allclose(STAGES[name](given, f=faults(name)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("d", [64 * 3, 64 * 3 + 5])
@pytest.mark.parametrize("name", STAGES)
def test_several_chunks_give_what_one_gives(name, d, library, path, monkeypatch):
    x = vectors(name, votes(d))
    expected = STAGES[name](x.astype(np.float64), f=faults(name))
    monkeypatch.setattr(stored, "CHUNK", 64 * N)
    monkeypatch.setattr(stored, "BLOCK", 512)
    np.testing.assert_allclose(STAGES[name](library(x), f=faults(name)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", STAGES)
def test_tensor_keeps_dtype_and_device(name, dtype, device, path):
    x = torch.from_numpy(vectors(name, votes())).to(dtype)
    result = STAGES[name](x.to(device), f=faults(name))
    assert result.dtype == dtype
    assert result.device.type == device
    assert not result.requires_grad
    reference = STAGES[name](x.double().numpy(), f=faults(name))
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float64: 1e-9}[dtype]
    np.testing.assert_allclose(result.double().cpu(), reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["median", "trimmed_mean", "meamed", "phocas"])
def test_nan_of_either_sign_counts_as_greater_than_all(name, dtype, device, path):
    x = np.random.default_rng(5).normal(size=(N, D)).astype(np.float32)
    greatest = x.copy()
    x[2], x[7] = np.nan, -np.nan
    x[7, ::3], x[4, 1::3], x[4, 2::3] = np.inf, np.nan, -np.inf
    greatest[2] = greatest[7] = 1e4
    greatest[4, 1::3], greatest[4, 2::3] = 1e4, -1e4
    result, expected = (STAGES[name](torch.from_numpy(v).to(dtype).to(device), f=3) for v in (x, greatest))
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("name", STAGES)
def test_any_number_of_threads_gives_the_same_bits(name, monkeypatch):
    monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", 0)
    monkeypatch.setattr(stored, "CHUNK", 64 * N)
    monkeypatch.setattr(stored, "BLOCK", 512)
    x = vectors(name, votes(64 * 7 + 5))
    one = STAGES[name](x, f=faults(name))
    for threads in (2, 5):
        np.testing.assert_array_equal(STAGES[name](x, f=faults(name), threads=threads), one)
    np.testing.assert_array_equal(STAGES[name](x, f=faults(name)), one)


@pytest.mark.parametrize("name", STAGES)
def test_condition_is_what_it_says(name):
    stage = STAGES[name]
    condition = stage.condition.text.replace("2f", "2 * f").replace("4f", "4 * f").replace("f = 0", "f == 0")
    for n in range(1, 30):
        served = [f for f in range(n + 1) if eval(condition, {"n": n, "f": f})]
        assert stage.tolerates(n) == max(served, default=-1)
    assert stage.tolerates(0) == -1


@pytest.mark.parametrize("name", STAGES)
def test_outside_its_condition_a_rule_says_why(name):
    stage = STAGES[name]
    for n in range(1, N + 1):
        x = np.ones((n, 3), np.float32)
        for f in (stage.tolerates(n) + 1, -1):
            with pytest.raises(AggregatorError) as error:
                stage(x, f=f)
            assert str(error.value) == f"{name} needs {stage.condition.text}, got n = {n}, f = {f}"


@pytest.mark.parametrize("name", STAGES)
def test_unknown_option_names_the_known_ones(name):
    with pytest.raises(AggregatorError, match=f"{name} has no option 'neigbours'; its options: "):
        STAGES[name](np.ones((N, 3), np.float32), f=0, neigbours=2)


@pytest.mark.parametrize("name", STAGES)
def test_rule_is_documented(name):
    stage = STAGES[name]
    assert stage.name == name
    assert stage.summary.endswith(".")
    for option in stage.options:
        assert f"{option}: " in stage.function.__doc__


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ([[1.0]], "numpy array or a torch tensor, got list"),
        (np.ones(3, np.float32), r"shape \(n, d\)"),
        (np.ones((0, 3), np.float32), r"shape \(n, d\)"),
        (np.ones((3, 0), np.float32), r"shape \(n, d\)"),
        (np.ones((3, 3), np.int32), "floating dtype, got int32"),
    ],
)
def test_what_is_not_an_array_of_vectors_is_refused(gradients, message):
    with pytest.raises(AggregatorError, match=message):
        RULES["median"](gradients)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("krum", {"neighbours": N}, "1 <= neighbours < n"),
        ("multi_krum", {"m": N - 1}, "1 <= m <= n - f"),
        ("median_of_means", {"blocks": 4}, "2f < blocks <= n"),
        ("median_of_means", {"centre": "mode"}, "geometric or coordinatewise"),
        ("bulyan", {"scoring": "twice"}, "each or once"),
        ("centered_clipping", {"tau": 0.0}, "tau > 0"),
        ("centered_clipping", {"previous": np.full(D, np.nan, np.float32)}, "without NaN"),
        ("monna", {"trusted": np.ones(D - 1, np.float32)}, "reference vector must have shape"),
        ("dnc", {"c": 2.0, "iterations": 3}, "iterations < n"),
        ("bucketing", {"s": 0}, "s >= 1"),
        ("clipping", {"c": -1.0}, "c > 0"),
        ("median", {"threads": 0}, "threads must be at least 1"),
    ],
)
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(AggregatorError, match=message):
        STAGES[name](np.random.default_rng(0).normal(size=(N, D)), f=2, **options)


def test_smea_refuses_a_search_without_end():
    with pytest.raises(AggregatorError, match="smea tries all C"):
        RULES["smea"](np.ones((45, 2)), f=5)


def test_tolerates_knows_the_greatest_f():
    assert [tolerates(name, 15) for name in ("mean", "median", "krum", "bulyan")] == [0, 7, 6, 3]
    assert tolerates("krum", 2) == -1
    with pytest.raises(AggregatorError, match="unknown rule 'mode'; known: mean, median"):
        tolerates("mode", 5)


def test_import_is_light():
    code = "import sys, detox.aggregators; print({'numba', 'torch', 'scipy', 'llvmlite'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "set()"
