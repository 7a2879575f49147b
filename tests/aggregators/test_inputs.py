"""What a caller may give: numbers of any type, arrays in any form; what is refused is said in words."""

import warnings

import numpy as np
import pytest
import torch

from detox.aggregators import (
    PAIRS,
    PREAGGREGATORS,
    RULES,
    AggregatorError,
    Hierarchy,
    create_hierarchy,
    tolerates,
)

STAGES = RULES | PREAGGREGATORS
SMALL = np.random.default_rng(0).normal(size=(11, 40)).astype(np.float32)
INTEGERS = [np.int64, np.uint8, np.int8, np.array, torch.tensor]
NO_INTEGERS = [True, np.True_, 2.0, np.float64(2), float("nan"), 1j, "2", [2], np.array([2]), torch.tensor(True)]
REALS = [int, np.float32, np.float16, np.int8, np.array, torch.tensor]
NO_REALS = [True, np.True_, float("nan"), np.float32("nan"), torch.tensor(float("nan")), 1j, "1", b"1", [1.0]]
INTEGER_OPTIONS = [
    ("krum", "neighbours"),
    ("multi_krum", "m"),
    ("median_of_means", "blocks"),
    ("centered_clipping", "iterations"),
    ("dnc", "iterations"),
    ("dnc", "columns"),
    ("bucketing", "s"),
]
REAL_OPTIONS = [("centered_clipping", "tau"), ("dnc", "c"), ("clipping", "c")]


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", 0)


@pytest.mark.parametrize("name", STAGES)
def test_f_is_any_integer_and_the_kernels_stay_usable(name):
    f = min(2, STAGES[name].tolerates(11))
    results = [STAGES[name](SMALL, f=kind(f), threads=kind(2)) for kind in INTEGERS]
    for result in results:
        np.testing.assert_array_equal(STAGES[name](SMALL, f=f, threads=2), result)


@pytest.mark.parametrize(("name", "option"), INTEGER_OPTIONS)
def test_integer_options_are_any_integer_and_nothing_else(name, option):
    value = 3
    expected = STAGES[name](SMALL, f=1, **{option: value})
    for kind in INTEGERS:
        np.testing.assert_array_equal(STAGES[name](SMALL, f=1, **{option: kind(value)}), expected)
    for other in NO_INTEGERS:
        with pytest.raises(AggregatorError, match=f"{name}: {option} must be an integer, got"):
            STAGES[name](SMALL, f=1, **{option: other})
    for huge in (10**30, -(10**30), 10**6000):
        with pytest.raises(AggregatorError, match="less than 2"):
            STAGES[name](SMALL, f=1, **{option: huge})


@pytest.mark.parametrize(("name", "option"), REAL_OPTIONS)
def test_real_options_are_any_number_and_nothing_else(name, option):
    expected = STAGES[name](SMALL, f=1, **{option: 1.0})
    for kind in REALS:
        np.testing.assert_array_equal(STAGES[name](SMALL, f=1, **{option: kind(1)}), expected)
    for other in NO_REALS:
        with pytest.raises(AggregatorError, match=f"{name}: {option} must be a number, got"):
            STAGES[name](SMALL, f=1, **{option: other})
    with pytest.raises(AggregatorError, match="less than 2"):
        STAGES[name](SMALL, f=1, **{option: 10**400})


@pytest.mark.parametrize("other", [*NO_INTEGERS, None, torch.ones((), device="meta")], ids=repr)
def test_f_n_threads_k_and_groups_are_integers(other):
    h = create_hierarchy("d-median")
    for call in (
        lambda: RULES["median"](SMALL, f=other),
        lambda: RULES["median"](SMALL, threads=other),
        lambda: RULES["median"].check(11, other),
        lambda: tolerates("median", other),
        lambda: h.check(11, other),
        lambda: h.check(other, 0),
        lambda: h(SMALL, f=other, rng=np.random.default_rng(0)),
        lambda: Hierarchy("median", threads=other),
        lambda: create_hierarchy("krum", k=False if other is None else other),
        lambda: Hierarchy("krum", groups=False if other is None else other),
    ):
        with pytest.raises(AggregatorError, match="must be an integer, got"):
            call()


def test_hierarchies_take_any_integer():
    h = create_hierarchy("krum", k=np.int64(11), threads=np.int8(2), options={"krum": {"neighbours": np.uint8(5)}})
    assert h == create_hierarchy("krum", k=11, threads=2, options={"krum": {"neighbours": 5}})
    rng = np.random.default_rng
    np.testing.assert_array_equal(h(SMALL, f=np.int64(2), rng=rng(0)), h(SMALL, f=2, rng=rng(0)))
    h.check(np.int64(11), np.int64(2))
    assert tolerates("krum", np.int16(15)) == 6


UNSERVED = {
    "list": SMALL.tolist(),
    "list of tensors": [torch.ones(3)] * 5,
    "None": None,
    "scalar": np.float32(3),
    "masked": np.ma.array(SMALL, mask=SMALL > 1),
    "int": SMALL.astype(np.int64),
    "bool": SMALL > 0,
    "complex": SMALL.astype(np.complex64),
    "object": SMALL.astype(object),
    "string": SMALL.astype(str),
    "long double": SMALL.astype(np.longdouble),
    "dates": np.zeros((11, 3), "M8[s]"),
    "fields": np.zeros((11, 3), [("a", "f4")]),
    "no dimension": np.array(3.0),
    "one dimension": SMALL[0],
    "three dimensions": SMALL[None],
    "no vectors": SMALL[:0],
    "no columns": SMALL[:, :0],
    "tensor of int": torch.ones(11, 3, dtype=torch.int64),
    "tensor of bool": torch.ones(11, 3) > 0,
    "tensor of complex": torch.ones(11, 3, dtype=torch.complex64),
    "tensor of float8": torch.ones(11, 3).to(torch.float8_e4m3fn),
    "tensor without values": torch.ones(11, 40, device="meta"),
    "sparse tensor": torch.ones(11, 40).to_sparse(),
    "tensor without vectors": torch.ones(0, 3),
    "tensor of one dimension": torch.ones(3),
}


@pytest.mark.parametrize("kind", UNSERVED)
def test_what_cannot_be_served_is_refused_in_words(kind):
    for stage in STAGES.values():
        with pytest.raises(AggregatorError, match="gradients must"):
            stage(UNSERVED[kind])
    with pytest.raises(AggregatorError, match="gradients must"):
        PAIRS["d-median"](UNSERVED[kind], f=0, rng=np.random.default_rng(0))


def matrix():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asmatrix(SMALL)


SERVED = {
    "float16": SMALL.astype(np.float16),
    "matrix": matrix(),
    "unaligned": np.frombuffer(b"\0" + SMALL.tobytes(), np.uint8)[1:].view(np.float32).reshape(SMALL.shape),
    "one row many times": np.broadcast_to(SMALL[0], SMALL.shape),
    "half tensor": torch.from_numpy(SMALL).half(),
    "parameter": torch.nn.Parameter(torch.from_numpy(SMALL)),
    "lazy sign": torch.imag(torch.conj(torch.complex(torch.from_numpy(SMALL), torch.from_numpy(SMALL)))),
    "expanded": torch.from_numpy(SMALL)[:1].expand(11, 40),
}


@pytest.mark.parametrize("kind", SERVED)
def test_unusual_arrays_give_what_plain_ones_give(kind):
    given = SERVED[kind]
    tensor = isinstance(given, torch.Tensor)
    plain = given.detach().resolve_neg().double().numpy() if tensor else np.array(given, np.float64)
    for name, stage in STAGES.items():
        f = min(2, stage.tolerates(11))
        result = stage(given, f=f)
        assert type(result) is (torch.Tensor if tensor else np.ndarray)
        assert result.dtype == given.dtype
        tolerance = 2e-3 if result.dtype in (np.float16, torch.float16) else 1e-5
        expected = stage(plain, f=f)
        np.testing.assert_allclose(np.asarray(result), expected, rtol=tolerance, atol=tolerance, err_msg=name)


REFERENCES = {
    "read-only": lambda v: np.broadcast_to(v, v.shape),
    "other byte order": lambda v: v.astype(v.dtype.newbyteorder("S")),
    "float64": lambda v: v.astype(np.float64),
    "strided": lambda v: np.repeat(v, 2)[::2],
    "tensor": torch.tensor,
    "requires_grad": lambda v: torch.tensor(v, requires_grad=True),
}
NO_REFERENCES = {
    "nan": lambda v: np.where(v == v[3], np.nan, v),
    "infinity": lambda v: v * np.inf,
    "too great for float32": lambda v: np.full(40, 1e39),
    "short": lambda v: v[1:],
    "matrix": lambda v: v[None],
    "list": lambda v: v.tolist(),
    "integers": lambda v: v.astype(int),
    "text": lambda v: "x",
    "number": lambda v: 1.0,
    "masked": np.ma.array,
    "without values": lambda v: torch.ones(40, device="meta"),
}


@pytest.mark.parametrize("library", [np.array, torch.tensor])
@pytest.mark.parametrize(("name", "option"), [("monna", "trusted"), ("centered_clipping", "previous")])
@pytest.mark.parametrize("fast_from", [0, 10**9])
def test_reference_vectors_of_any_form_are_taken_and_others_refused(name, option, library, fast_from, monkeypatch):
    monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", fast_from)
    x, v = library(SMALL), SMALL[2] + np.float32(0.5)
    expected = np.asarray(RULES[name](x, f=2, **{option: v}))
    for make in REFERENCES.values():
        np.testing.assert_array_equal(RULES[name](x, f=2, **{option: make(v)}), expected)
    for make in NO_REFERENCES.values():
        with pytest.raises(AggregatorError, match=rf"^{option}(: a reference vector)? must "):
            RULES[name](x, f=2, **{option: make(v)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "d-medain"}, r"unknown aggregator 'd-medain'.*; did you mean d-median\?"),
        ({"name": 5}, "the name of an aggregator must be a name, got 5"),
        ({"name": ["krum"]}, "must be a name, got"),
        ({"a0": "krumm"}, r"unknown rule 'krumm'.*; did you mean krum\?"),
        ({"a0": 5}, "the name of a rule must be a name, got 5"),
        ({"name": "krum", "a1": ""}, "unknown rule ''"),
        ({"name": "krum", "pre": "nnm"}, "pre must be a sequence of names, got 'nnm'"),
        ({"name": "krum", "pre": None}, "pre must be a sequence of names"),
        ({"name": "krum", "pre": ["nmn"]}, r"unknown pre-aggregator 'nmn'.*; did you mean nnm\?"),
        ({"name": "krum", "options": 5}, "options must be a mapping"),
        ({"name": "krum", "options": {"krum": 5}}, "options of krum must be a mapping"),
        ({"name": "krum", "options": {"krum": {"neighbors": 3}}}, r"no option 'neighbors'.*did you mean neighbours\?"),
        ({"name": "krum", "options": {"krum": {"neighbours": 3.0}}}, "krum: neighbours must be an integer, got 3.0"),
        ({"name": "krum", "options": {"krun": {}}}, r"options given for 'krun'.*did you mean krum\?"),
        ({"name": "krum", "options": {3: {}}}, "options given for 3"),
        ({"name": "krum", "pre": ["bucketing"], "options": {"bucketing": {"s": "2"}}}, "s must be an integer"),
    ],
)
def test_hierarchy_says_what_it_does_not_know_and_what_is_nearest(arguments, message):
    with pytest.raises(AggregatorError, match=message):
        create_hierarchy(**arguments)


@pytest.mark.parametrize("table", [RULES, PREAGGREGATORS])
def test_unknown_names_in_a_table_are_aggregator_errors(table):
    for name in ("krun", "nnmm", 5, None):
        with pytest.raises(AggregatorError, match=r"unknown|must be a name"):
            table[name]
    assert "krun" not in table
    assert table.get("krun") is None


@pytest.mark.parametrize("rng", [None, 5, np.random, np.random.RandomState(0), torch.Generator()], ids=str)
def test_generators_are_those_of_numpy(rng):
    with pytest.raises(AggregatorError, match=r"rng must be a numpy.random.Generator"):
        create_hierarchy("krum")(SMALL, f=2, rng=rng)
    if rng is not None:
        with pytest.raises(AggregatorError, match=r"rng must be a numpy.random.Generator"):
            PREAGGREGATORS["bucketing"](SMALL, f=2, rng=rng)


def test_impossible_bucket_is_refused_before_it_is_divided_by():
    h = create_hierarchy("krum", pre=["bucketing"], options={"bucketing": {"s": 0}})
    with pytest.raises(AggregatorError, match="s >= 1"):
        h.rehearse(15, 2)
