import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.assignment.schemes import AuditedFiles, RedrawnGroups, worst_case
from detox.assignment.theory import (
    all_byzantine,
    audited_bad_votes,
    bad_group,
    bad_votes,
    copies,
    enough_redundancy,
    exceeds,
    expected_bad_votes,
    tail,
    tail_bound,
    tail_bound_holds,
)
from detox.worker.placement import Placement

SIZES = st.sampled_from([1, 3, 5, 7]).flatmap(
    lambda r: st.integers(1, 12).flatmap(lambda m: st.tuples(st.just(m * r), st.integers(0, m * r), st.just(r)))
)


def _counted(p, q, r, m):
    """The definition: all placements of q Byzantine workers among p, of which the first m r in a row are groups."""
    counts = Counter(
        sum(2 * sum(worker // r == group for worker in byzantine) > r for group in range(m))
        for byzantine in itertools.combinations(range(p), q)
    )
    return [Fraction(counts[k], math.comb(p, q)) for k in range(m + 1)]


@pytest.mark.parametrize("r", [1, 3, 5])
@pytest.mark.parametrize("q", [0, 1, 2, 4, 7, 15])
def test_the_distribution_is_that_of_all_placements_counted(q, r):
    assert bad_votes(15, q, r) == _counted(15, q, r, 15 // r)


@pytest.mark.parametrize("m", [0, 1, 3])
@pytest.mark.parametrize("q", [0, 1, 4, 9, 12])
def test_workers_without_a_group_take_byzantine_ones_out_of_the_votes(q, m):
    assert bad_votes(12, q, 3, m) == _counted(12, q, 3, m)
    assert expected_bad_votes(12, q, 3, m) == sum(k * share for k, share in enumerate(bad_votes(12, q, 3, m)))


def test_the_papers_cluster():
    distribution = [round(float(share), 5) for share in bad_votes(45, 5, 3)[:3]]
    assert distribution == [0.59728, 0.37204, 0.03068]
    assert float(expected_bad_votes(45, 5, 3)) == pytest.approx(0.43340, abs=5e-6)


@given(SIZES)
def test_it_sums_to_one_has_the_expected_mean_and_ends_at_the_worst_case(sizes):
    p, q, r = sizes
    distribution = bad_votes(p, q, r)
    assert sum(distribution) == 1
    assert sum(k * share for k, share in enumerate(distribution)) == expected_bad_votes(p, q, r)
    worst = worst_case(q, r, p // r)
    assert distribution[worst] > 0
    assert exceeds(distribution, worst) == 0


@given(SIZES.filter(lambda sizes: sizes[1] > 0))
def test_one_byzantine_worker_more_never_makes_few_bad_votes_likelier(sizes):
    p, q, r = sizes
    fewer, more = bad_votes(p, q - 1, r), bad_votes(p, q, r)
    assert bad_group(p, q - 1, r) <= bad_group(p, q, r)
    assert all(exceeds(fewer, f) <= exceeds(more, f) for f in range(p // r))


@pytest.mark.parametrize(("p", "q", "r"), [(45, 5, 3), (45, 9, 3), (44 * 11, 60, 11)])
def test_simulated_steps_of_a_run_have_this_distribution(p, q, r):
    steps, placement = 3000, Placement("random", p, q, seed=1)
    counts = Counter()
    for step in range(steps):
        byzantine = placement.byzantine(step)
        groups = RedrawnGroups(r, 2).draw(step, range(p)).holders
        counts[sum(2 * len(byzantine.intersection(group)) > r for group in groups)] += 1
    for k, share in enumerate(map(float, bad_votes(p, q, r))):
        assert abs(counts[k] / steps - share) < 5 * math.sqrt(share * (1 - share) / steps) + 1e-9


def test_the_papers_bounds_hold_wherever_their_condition_does():
    cases = 0
    for m, r, q in itertools.product((1, 2, 3, 5, 8, 13), range(1, 22, 2), range(1, 40)):
        p = m * r
        if 3 * q > p or not enough_redundancy(q, r):
            continue
        cases += 1
        distribution = bad_votes(p, q, r)
        assert expected_bad_votes(p, q, r) <= 1
        assert tail_bound_holds(distribution)
        # q_e <= 1 + 2 ln(1/delta) with probability 1 - delta, whatever delta is.
        for delta in np.linspace(0.001, 1, 50):
            assert exceeds(distribution, math.floor(1 + 2 * math.log(1 / delta))) <= delta
    assert cases > 100


@pytest.mark.parametrize(("p", "q", "r", "mean", "tail"), [(1125, 375, 25, False, True), (45, 40, 15, False, False)])
def test_the_condition_on_r_alone_does_not_make_the_papers_bounds_hold(p, q, r, mean, tail):
    assert enough_redundancy(q, r)
    assert (expected_bad_votes(p, q, r) <= 1) == mean
    assert tail_bound_holds(bad_votes(p, q, r)) == tail


def test_the_tail_bound_speaks_of_so_many_or_more():
    # P(q_e > x) <= exp((1 - x)/2) for all x < 3, and so P(q_e >= 3) <= exp(-1): one half is too much.
    assert tail_bound(3) == pytest.approx(math.exp(-1))
    assert not tail_bound_holds([Fraction(1, 2), Fraction(0), Fraction(0), Fraction(1, 2)])
    assert tail_bound_holds([Fraction(2, 3), Fraction(0), Fraction(0), Fraction(1, 3)])


@given(SIZES)
def test_the_tail_counts_so_many_or_more(sizes):
    distribution = bad_votes(*sizes)
    assert tail(distribution) == [exceeds(distribution, k - 1) for k in range(len(distribution))]


def test_four_hundred_and_fifty_workers_are_no_trouble():
    distribution = bad_votes(450, 100, 5)
    assert sum(distribution) == 1
    assert np.argmax([float(share) for share in distribution]) == pytest.approx(
        float(expected_bad_votes(450, 100, 5)), abs=1.5
    )


@pytest.mark.parametrize(
    ("case", "published"), [((45, 5, 3), 2.202), ((45, 5, 5), 3.355), ((45, 1, 3), 2.044), ((45, 9, 5), 3.643)]
)
def test_lazy_copies_are_as_many_as_computed_elsewhere(case, published):
    assert round(copies(*case), 3) == published


@pytest.mark.parametrize("case", [(6, 2, 3), (7, 3, 5), (5, 5, 3), (6, 0, 5), (7, 7, 1)])
def test_lazy_copies_are_the_mean_over_all_orders(case):
    p, q, r = case
    m, asked = (r + 1) // 2, []
    for order in itertools.permutations(range(p)):
        claims = [worker < q for worker in order]
        asked.append(next(n for n in range(1, r + 1) if m in (sum(claims[:n]), n - sum(claims[:n]))))
    assert copies(*case) == pytest.approx(sum(asked) / len(asked))


def _placements(p, q):
    return [set(some) for some in itertools.combinations(range(p), q)]


@pytest.mark.parametrize("q", [0, 1, 2, 4, 9])
def test_files_that_are_all_byzantine_are_counted_over_all_placements(q):
    asked = RedrawnGroups(3, lazy=True).draw(1, range(9)).first
    ends = [sum(asked[: file + 1]) for file in range(len(asked))]
    files = [set(range(end - size, end)) for end, size in zip(ends, asked, strict=True)]
    counts = [sum(file <= byzantine for file in files) for byzantine in _placements(9, q)]
    assert all_byzantine(9, q, asked) == Fraction(sum(counts), len(counts))


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("q", [0, 1, 3, 9])
def test_bad_votes_under_audits_are_counted_over_all_placements(k, q):
    files = AuditedFiles(k).draw(1, range(9)).holders
    counts = [
        sum(2 * len(byzantine & set(holders)) > len(holders) for holders in files) for byzantine in _placements(9, q)
    ]
    assert audited_bad_votes(9, q, k) == Fraction(sum(counts), len(counts))
