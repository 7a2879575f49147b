import re
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from detox.aggregators import PAIRS, PREAGGREGATORS, RULES, AggregatorError, Hierarchy, create_hierarchy, stored


def votes(n=15, d=40, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize(
    ("hierarchy", "n", "sizes"),
    [
        (PAIRS["d-median"], 15, [3] * 5),
        (PAIRS["d-median"], 45, [3] * 15),
        (PAIRS["d-median"], 16, [3, 3, 3, 3, 2, 2]),
        (PAIRS["d-median"], 2, [2]),
        (PAIRS["d-multi-krum"], 15, [8, 7]),
        (PAIRS["d-multi-krum"], 45, [23, 22]),
        (Hierarchy("multi_krum", k=8), 15, [8, 7]),
        (PAIRS["d-bulyan"], 15, [15]),
        (PAIRS["d-signsgd"], 9, [3, 3, 3]),
    ],
)
def test_vote_groups_are_nearly_equal(hierarchy, n, sizes):
    """A vote weighs 1 / (groups x size of its group) in a mean of means."""
    means = replace(hierarchy, a0="mean", a1="mean", options={})
    weights = [1 / (len(sizes) * size) for size in sizes for _ in range(size)]
    np.testing.assert_allclose(np.sort(means(np.eye(n), f=0, rng=rng())), np.sort(weights), rtol=1e-12)


def test_pair_is_what_the_paper_says():
    x = votes()
    order = rng().permutation(15)
    buckets = np.stack([x[g].mean(axis=0) for g in np.split(order, 5)])
    np.testing.assert_allclose(PAIRS["d-median"](x, f=2, rng=rng()), np.median(buckets, axis=0), rtol=1e-5)
    first, second = np.sort(order[:8]), np.sort(order[8:])
    halves = [RULES["multi_krum"](x[g], f=2) for g in (first, second)]
    np.testing.assert_allclose(PAIRS["d-multi-krum"](x, f=2, rng=rng()), np.mean(halves, axis=0), rtol=1e-5)
    np.testing.assert_array_equal(PAIRS["d-bulyan"](x, f=2, rng=rng()), RULES["bulyan"](x, f=2))
    signs = np.stack([np.sign(np.sign(x[g]).sum(axis=0)) for g in np.split(order, 5)])
    expected = np.sign(signs.sum(axis=0))
    np.testing.assert_array_equal(PAIRS["d-signsgd"](x, f=2, rng=rng()), expected)


@pytest.mark.parametrize("a1", ["mean", "median"])
def test_weighted_groups_are_joined_as_their_results_would_be(a1):
    """Krum's results are weighted sums of the votes; their mean is taken without computing them."""
    x = votes()
    x[4] = np.nan
    h = create_hierarchy(a0="krum", a1=a1, k=5)
    groups = np.split(rng().permutation(15), 3)
    winners = np.stack([RULES["krum"](x[np.sort(g)], f=1) for g in groups])
    expected = winners.mean(axis=0) if a1 == "mean" else np.median(winners, axis=0)
    np.testing.assert_allclose(h(x, f=1, rng=rng()), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", PAIRS)
def test_two_bad_votes_of_fifteen_change_little(name):
    x = votes()
    x[3], x[8] = np.nan, 1e38
    result = PAIRS[name](x, f=2, rng=rng())
    assert np.isfinite(result).all()
    assert np.abs(result).max() < 5


@pytest.mark.parametrize("name", PAIRS)
def test_same_seed_gives_the_same_bits_for_any_threads_and_library(name):
    x = votes(d=70_000)
    one = PAIRS[name](x, f=2, rng=rng())
    many = create_hierarchy(name, threads=3)(x, f=2, rng=rng())
    np.testing.assert_array_equal(many, one)
    np.testing.assert_array_equal(PAIRS[name](torch.from_numpy(x), f=2, rng=rng()), one)


@pytest.mark.parametrize("name", [*PAIRS, "draco", "geometric_median"])
def test_any_form_of_the_votes_gives_the_same_and_stays_as_it_is(name, monkeypatch):
    monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", 0)
    x = votes()
    h, f = create_hierarchy(name), 0 if name == "draco" else 2
    expected = h(x.astype(np.float64), f=f, rng=rng())
    for form, make in {
        "Fortran order": np.asfortranarray,
        "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)[::2, ::2],
        "other byte order": lambda x: x.astype(">f4"),
        "read-only": lambda x: np.broadcast_to(x, x.shape),
        "torch": torch.tensor,
        "torch float64": lambda x: torch.tensor(x, dtype=torch.float64),
        "requires_grad": lambda x: torch.tensor(x, requires_grad=True),
    }.items():
        given = make(x)
        result = h(given, f=np.int64(f), rng=rng())
        np.testing.assert_allclose(np.asarray(result), expected, rtol=1e-5, atol=2e-6, err_msg=form)
        np.testing.assert_array_equal(given.detach().numpy() if isinstance(given, torch.Tensor) else given, x)


def test_votes_of_a_wider_array_are_not_changed():
    wide = votes(d=50)
    before = wide.copy()
    PAIRS["d-median"](wide[:, :40], f=1, rng=rng())
    np.testing.assert_array_equal(wide, before)


@pytest.mark.parametrize(
    ("hierarchy", "n", "f", "message"),
    [
        (PAIRS["d-median"], 9, 2, r"2 bad votes of n = 9 can spoil 2 of the 3 vote groups .* n = 3, f = 2"),
        (
            PAIRS["d-multi-krum"],
            15,
            3,
            r"can spoil 1 of the 2 vote groups \(sizes 8 \+ 7\)",
        ),
        (
            PAIRS["d-multi-krum"],
            4,
            0,
            r"multi_krum needs n >= 2f \+ 3, but n = 4 votes make groups of 2",
        ),
        (PAIRS["d-multi-krum"], 1, 0, "2 vote groups need as many votes, got n = 1"),
        (PAIRS["d-bulyan"], 15, 4, r"bulyan needs n >= 4f \+ 3, got n = 15, f = 4"),
        (Hierarchy("krum"), 5, 2, r"krum needs n >= 2f \+ 3, got n = 5, f = 2"),
        (Hierarchy("krum", pre=("bucketing",)), 9, 2, r"krum needs n >= 2f \+ 3, got n = 5, f = 2"),
        (Hierarchy("median", pre=("nnm",)), 4, 2, r"nnm needs n > 2f, got n = 4, f = 2"),
        (Hierarchy("median"), 4, -1, "f must not be negative"),
    ],
)
def test_what_cannot_be_served_is_said_in_words(hierarchy, n, f, message):
    with pytest.raises(AggregatorError, match=message):
        hierarchy.check(n, f)
    with pytest.raises(AggregatorError, match=message):
        hierarchy(votes(n), f=f, rng=rng())


@pytest.mark.parametrize(
    ("n", "f", "spoilt", "sizes"),
    [(7, 1, 0, "4 + 3"), (7, 2, 1, "4 + 3"), (7, 3, 1, "4 + 3"), (7, 4, 2, "4 + 3"), (9, 1, 0, "5 + 4"),
     (9, 2, 1, "5 + 4"), (9, 4, 1, "5 + 4"), (9, 5, 2, "5 + 4")],
)  # fmt: skip
def test_adversary_spoils_the_cheapest_groups_first(n, f, spoilt, sizes):
    """The median tolerates one of 3 or 4 votes and two of 5, so that two spoil a group, or three; the mean none."""
    hierarchy = Hierarchy("median", groups=2)
    said = rf"can spoil {spoilt} of the 2 vote groups \(sizes {re.escape(sizes)}\)"
    with pytest.raises(AggregatorError, match=said) if spoilt else nullcontext():
        hierarchy.check(n, f)


@pytest.mark.parametrize("name", PAIRS)
def test_what_passes_the_check_tolerates_every_placement_of_bad_votes(name):
    """The count of spoilt groups is the worst case: no placement drives the result away."""
    pair = PAIRS[name]
    for n in (9, 12, 15):
        served = [f for f in range(n) if serves(pair, n, f)]
        for f in served[1:]:
            for seed in range(20):
                x = votes(n, 4, seed)
                x[np.random.default_rng(seed).choice(n, f, replace=False)] = 1e30
                assert np.abs(pair(x, f=f, rng=np.random.default_rng(seed))).max() < 10


def serves(pair, n, f):
    try:
        pair.check(n, f)
    except AggregatorError:
        return False
    return True


def test_pre_aggregators_run_first_and_take_options():
    x = votes()
    h = create_hierarchy(
        a0="krum", pre=["clipping", "nnm"], options={"clipping": {"c": 1.0}, "krum": {"neighbours": 5}}
    )
    mixed = PREAGGREGATORS["nnm"](PREAGGREGATORS["clipping"](x, f=2, c=1.0), f=2)
    np.testing.assert_array_equal(h(x, f=2, rng=rng()), RULES["krum"](mixed, f=2, neighbours=5))


@pytest.mark.parametrize("pair", [{"a0": "centered_clipping"}, {"a0": "mean", "a1": "centered_clipping", "k": 3}])
def test_rules_that_start_from_the_last_result_are_given_it_in_either_stage(pair):
    x, last = votes(), votes(1, seed=8)[0]
    h = create_hierarchy(**pair)
    assert h.uses("previous")
    rows = x if "a1" not in pair else np.stack([x[g].mean(axis=0) for g in np.split(rng().permutation(15), 5)])
    expected = RULES["centered_clipping"](rows, f=2, previous=last)
    np.testing.assert_allclose(h(x, f=2, rng=rng(), previous=last), expected, rtol=1e-4, atol=1e-6)
    assert np.abs(h(x, f=2, rng=rng()) - expected).max() > 1e-3


def test_rules_without_a_memory_do_not_ask_for_the_last_result():
    assert not create_hierarchy("d-median").uses("previous")
    x = votes()
    result = PAIRS["d-median"](x, f=2, rng=rng(), previous=x[0])
    np.testing.assert_array_equal(result, PAIRS["d-median"](x, f=2, rng=rng()))


def test_draco_is_the_mean_and_tolerates_no_bad_vote():
    x = votes()
    np.testing.assert_array_equal(create_hierarchy("draco")(x, f=0, rng=rng()), RULES["mean"](x))
    with pytest.raises(AggregatorError, match="mean needs f = 0"):
        create_hierarchy("draco").check(15, 1)


def test_bucketing_draws_from_the_hierarchys_generator():
    h = create_hierarchy("median", pre=("bucketing",), options={"bucketing": {"s": 3}})
    x = votes()
    buckets = np.stack([x[g].mean(axis=0) for g in np.split(rng().permutation(15), 5)])
    np.testing.assert_allclose(h(x, f=2, rng=rng()), np.median(buckets, axis=0), rtol=1e-5)


def test_names_make_hierarchies():
    assert create_hierarchy("d-median") == PAIRS["d-median"]
    assert create_hierarchy("krum") == Hierarchy("krum")
    assert create_hierarchy("d-multi-krum", k=5) == Hierarchy("multi_krum", "mean", k=5)
    assert create_hierarchy("d-median", a1="geometric_median") == Hierarchy("mean", "geometric_median", k=3)
    assert create_hierarchy(a0="mean", a1="median", k=3, threads=2) == Hierarchy("mean", "median", k=3, threads=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "d-mode"}, "unknown aggregator 'd-mode'; pairs: d-median, .*; rules: mean, median"),
        ({}, "give the name of a pair or a rule, or a0"),
        ({"a0": "mode"}, "unknown rule 'mode'; known: mean"),
        ({"name": "krum", "pre": ("mix",)}, "unknown pre-aggregator 'mix'; known: bucketing"),
        (
            {"name": "krum", "options": {"bulyan": {}}},
            r"'bulyan', which is not used here \(used: krum,",
        ),
        ({"name": "krum", "options": {"krum": {"k": 1}}}, "krum has no option 'k'; its options: neighbours"),
        ({"name": "krum", "k": 0}, "k must be at least 1, got 0"),
        ({"name": "krum", "threads": 0}, "threads must be at least 1"),
    ],
)
def test_names_that_are_not_known_are_refused(arguments, message):
    with pytest.raises(AggregatorError, match=message):
        create_hierarchy(**arguments)


def test_k_and_groups_exclude_each_other():
    with pytest.raises(AggregatorError, match="k and groups exclude each other"):
        Hierarchy("mean", k=3, groups=2)


def test_slabs_of_columns_change_nothing(monkeypatch):
    x = votes(d=331)
    whole = PAIRS["d-median"](x, f=2, rng=rng())
    monkeypatch.setattr(stored, "SLAB", 40)  # the last slab has 11 columns, fewer than a vector
    for least in (0, 10**9):
        monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", least)
        for threads in (1, 3):
            h = create_hierarchy("d-median", threads=threads)
            np.testing.assert_allclose(h(x, f=2, rng=rng()), whole, rtol=1e-6, atol=1e-7)
