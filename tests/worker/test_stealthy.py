from itertools import combinations, pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detox.aggregators import create_hierarchy
from detox.worker.attacks import ATTACKS
from detox.worker.defence import Defence
from detox.worker.knowledge import Knowledge
from detox.worker.stealthy import alie_z

gradients = st.integers(1, 6).flatmap(
    lambda m: arrays(np.float32, (m, 4), elements=st.floats(-100, 100, width=32).map(lambda x: round(x, 2)))
)
perturbations = st.sampled_from(["std", "unit", "sign"])


def _attack(name, known, scale=1.0, **more):
    known = np.asarray(known, np.float32)
    files = more.pop("files", tuple(range(len(known))))
    rng = more.pop("rng", np.random.default_rng(0))
    return ATTACKS[name].attack(Knowledge(own=known[0], known=known, files=files, rng=rng, scale=scale, **more))


@given(gradients, st.floats(-5, 5))
def test_alie_is_the_mean_plus_z_standard_deviations_of_what_is_known(known, z):
    expected = [v.mean() + z * v.std() for v in known.astype(float).T]
    assert np.allclose(_attack("alie", known, z), expected, atol=1e-3)


def test_the_z_of_alie_is_that_of_the_papers_own_example():
    # Baruch et al. 2019, section 4: n = 50, m = 24 gives s = 2 and z = Phi^-1((50 - 24 - 2) / (50 - 24)).
    assert alie_z(50, 24) == pytest.approx(NormalDist().inv_cdf(24 / 26))
    assert alie_z(45, 5) == pytest.approx(NormalDist().inv_cdf(22 / 40))
    assert ATTACKS["alie"].strength(50, 24) == alie_z(50, 24)


@given(st.integers(3, 200))
def test_more_colluders_can_hide_a_greater_z(n):
    zs = [alie_z(n, m) for m in range(1, (n - 1) // 2 + 1)]
    assert all(a <= b for a, b in pairwise(zs))
    assert np.isfinite([alie_z(n, m) for m in range(1, n + 1)]).all()


@given(gradients, st.floats(0, 10))
def test_inner_product_manipulation_is_epsilon_times_the_mean_backwards(known, epsilon):
    assert np.allclose(_attack("ipm", known, epsilon), -epsilon * known.astype(float).mean(axis=0), atol=1e-2)


def _perturbation(known, name):
    mean = known.mean(axis=0)
    norm = np.linalg.norm(mean)
    return {"std": -known.std(axis=0), "sign": -np.sign(mean), "unit": -mean / norm if norm else 0 * mean}[name]


def _greatest(allowed):
    """The greatest gamma that is allowed, by halving, as Shejwalkar and Houmansadr have it (Algorithm 1)."""
    low, high = 0.0, 1e7
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low


def _bound(name, known):
    """The measure of a vector's distances to the known ones that the attack bounds, and its bound."""
    if name == "min_max":
        pairs = [np.linalg.norm(a - b) for a, b in combinations(known, 2)]
        return lambda x: max(np.linalg.norm(x - y) for y in known), max(pairs, default=0.0)
    return (
        lambda x: sum(np.linalg.norm(x - y) ** 2 for y in known),
        max(sum(np.linalg.norm(x - y) ** 2 for y in known) for x in known),
    )


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@given(known=gradients, perturbation=perturbations)
def test_min_max_and_min_sum_go_as_far_as_their_bound_allows(name, known, perturbation):
    sent = _attack(name, known, perturbation=perturbation).astype(float)
    exact = known.astype(float)
    measure, bound = _bound(name, exact)
    size = 1 + np.abs(exact).max()
    assert measure(sent) <= bound * (1 + 1e-4) + 1e-3 * size
    p = _perturbation(exact, perturbation)
    mean = exact.mean(axis=0)
    if bound > 1e-2 * size and np.linalg.norm(p) > 1e-3 * size:
        gamma = _greatest(lambda gamma: measure(mean + gamma * p) <= bound)
        assert np.allclose(sent, mean + gamma * p, atol=2e-3 * size)


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
def test_batch_norm_statistics_do_not_count_in_the_distances(name):
    known = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
    wild = known.copy()
    wild[:, 4:] *= 1e4
    assert np.allclose(_attack(name, wild, d=4)[:4], _attack(name, known[:, :4]), rtol=1e-4)
    assert np.allclose(_attack(name, known, 0.5, d=4), (known.mean(axis=0) + _attack(name, known, d=4)) / 2, atol=1e-5)


def _steps(name, steps, scale, files=(0, 1, 2, 3)):
    memory = {}
    for step, known in enumerate(steps):
        rng = np.random.default_rng(step)
        yield known, _attack(name, known, scale, memory=memory, files=files, rng=rng)


def _heterogeneous(rng, outlier, steps):
    """Gradients about a common one, that of one file with a deviation of its own along a fixed direction."""
    for _ in range(steps):
        known = 5 + rng.standard_normal((4, 30)).astype(np.float32)
        known[outlier, 7] += 10
        yield known


@given(st.integers(0, 3), st.integers(0, 20))
def test_mimic_finds_the_file_that_deviates_most_and_stays_with_it(outlier, seed):
    rng = np.random.default_rng(seed)
    steps = [*_heterogeneous(rng, outlier, 10), *_heterogeneous(rng, (outlier + 1) % 4, 10)]
    for step, (known, sent) in enumerate(_steps("mimic", steps, 10)):
        assert sent.tolist() in known.tolist()
        if step >= 5:
            assert np.array_equal(sent, known[outlier])


def test_mimic_watches_along_the_direction_of_greatest_variance():
    rng, memory = np.random.default_rng(3), {}
    axis = np.zeros(30, np.float32)
    axis[4] = 1
    for step in range(15):
        known = 5 + rng.standard_normal((40, 30)).astype(np.float32) + 6 * rng.standard_normal((40, 1)) * axis
        _attack("mimic", known, 100, memory=memory, rng=np.random.default_rng(step))
    assert abs(memory["direction"] @ axis) > 0.99
    assert np.allclose(memory["mean"], 5, atol=1)


def test_mimic_of_a_file_that_is_not_known_in_this_step_takes_the_next_best():
    memory = {"steps": 5, "scores": {0: 1.0, 1: -9.0, 2: 3.0}}
    known = np.eye(3, dtype=np.float32)
    assert np.array_equal(_attack("mimic", known, 5, memory=memory), known[1])
    assert np.array_equal(_attack("mimic", known[[0, 2]], 5, memory=memory, files=(0, 2)), known[2])


def test_delayed_sends_the_first_known_gradient_of_so_many_steps_ago():
    steps = [np.full((4, 2), step, np.float32) + np.arange(4, dtype=np.float32)[:, None] / 10 for step in range(9)]
    assert [sent[0] for _, sent in _steps("delayed", steps, 3)] == [0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert [sent[0] for _, sent in _steps("delayed", steps, 0)] == list(range(9))


DEFENCES = ["median", "krum", "trimmed_mean", "geometric_median", "d-median"]


@pytest.mark.parametrize("aggregator", DEFENCES)
@pytest.mark.parametrize(("name", "plain"), [("opt_alie", "alie"), ("opt_ipm", "ipm")])
def test_a_line_search_does_about_as_much_harm_as_any_factor_can(aggregator, name, plain):
    known = 1 + np.random.default_rng(2).standard_normal((15, 50)).astype(np.float32)
    defence = Defence(create_hierarchy(aggregator), f=2, files=15, r=3, d=50)
    rehearse = lambda: defence.rehearse(dict(enumerate(known)), [0, 0, 1, 1], lambda: np.random.default_rng(0))  # noqa: E731

    def harm(sent):
        return np.linalg.norm(rehearse()(sent) - known.mean(axis=0))

    found = harm(_attack(name, known, 10.0, rehearse=rehearse))
    assert found >= 0.85 * max(harm(_attack(plain, known, factor)) for factor in np.linspace(0, 10, 401))


@pytest.mark.parametrize("side", [1, -1])
def test_opt_alie_goes_to_the_side_on_which_the_aggregate_gives_way(side):
    known = np.random.default_rng(2).standard_normal((9, 8)).astype(np.float32)
    sigma, mean = known.std(axis=0), known.mean(axis=0)
    rehearse = lambda: lambda answer: mean + np.clip(side * (answer - mean) @ sigma, -1, 3) * sigma  # noqa: E731
    sent = _attack("opt_alie", known, 10.0, rehearse=rehearse)
    assert side * float((sent - mean) @ sigma) >= 3


def test_opt_alie_stays_on_the_side_of_the_first_step():
    rng, memory = np.random.default_rng(2), {}
    for side in (-1, 1, -1):
        known = rng.standard_normal((9, 8)).astype(np.float32)
        sigma, mean = known.std(axis=0), known.mean(axis=0)
        rehearse = lambda: lambda answer: mean + np.clip(side * (answer - mean) @ sigma, -1, 3) * sigma  # noqa: B023, E731
        sent = _attack("opt_alie", known, 10.0, rehearse=rehearse, memory=memory)
        assert float((sent - mean) @ sigma) < 0


def test_a_line_search_against_the_mean_goes_as_far_as_it_may():
    known = np.random.default_rng(2).standard_normal((5, 8)).astype(np.float32)
    rehearse = lambda: lambda answer: np.vstack([known, answer]).mean(axis=0)  # noqa: E731
    assert np.array_equal(_attack("opt_ipm", known, 50.0, rehearse=rehearse), _attack("ipm", known, 50.0))


@pytest.mark.parametrize(("name", "aggregations"), [("opt_ipm", 33), ("opt_alie", 58)])
def test_a_line_search_tries_its_best_factor_once(name, aggregations):
    known = np.random.default_rng(3).standard_normal((9, 8)).astype(np.float32)
    tried = []

    def aggregate(answer):
        tried.append(answer)
        return known.mean(axis=0) + np.float32(np.linalg.norm(answer) < 1) * answer  # the best is not the greatest

    _attack(name, known, 100.0, rehearse=lambda: aggregate)
    assert len(tried) <= aggregations


def test_a_line_search_without_a_defence_says_what_is_missing():
    with pytest.raises(ValueError, match="aggregation in use"):
        _attack("opt_alie", np.eye(2))
