from collections import Counter
from fractions import Fraction
from itertools import chain, combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.assignment import SCHEMES
from detox.assignment.schemes import AuditedFiles
from detox.assignment.theory import bad_group
from detox.tasks.samples import Files


def draw_groups(workers, r, how, seed, step=0, classes=()):
    return SCHEMES[how](r, seed, classes).draw(step, workers).holders


SHAPES = st.tuples(st.integers(1, 15), st.sampled_from([1, 3, 5])).map(lambda s: (s[0] * s[1], s[1]))


@given(SHAPES, st.sampled_from(["fixed", "random", "redrawn"]), st.integers(0, 2**64), st.integers(0, 100))
def test_groups_partition_the_workers(shape, how, seed, step):
    p, r = shape
    groups = draw_groups(range(p), r, how, seed, step)
    assert sorted(w for g in groups for w in g) == list(range(p))
    assert {len(g) for g in groups} == {r}


def test_fixed_groups_are_consecutive():
    assert draw_groups(range(6), 3, "fixed", seed=9, step=4) == ((0, 1, 2), (3, 4, 5))


def test_random_groups_stay_and_redrawn_groups_change():
    assert draw_groups(range(45), 3, "random", 1, 1) == draw_groups(range(45), 3, "random", 1, 2)
    assert draw_groups(range(45), 3, "redrawn", 1, 1) != draw_groups(range(45), 3, "redrawn", 1, 2)
    assert draw_groups(range(45), 3, "redrawn", 1, 7) == draw_groups(range(45), 3, "redrawn", 1, 7)
    assert draw_groups(range(45), 3, "redrawn", 1, 1) != draw_groups(range(45), 3, "redrawn", 2, 1)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.sampled_from(["fixed", "random", "redrawn"]))
def test_within_classes_each_class_fills_as_many_groups_as_it_can(sizes, how):
    workers = np.random.default_rng(0).permutation(sum(sizes)).tolist()
    classes = [set(workers[sum(sizes[:i]) : sum(sizes[: i + 1])]) for i in range(len(sizes))]
    groups = draw_groups(sorted(workers), 3, how, seed=4, step=2, classes=classes)
    members = [worker for group in groups for worker in group]
    assert len(members) == len(set(members))
    for of_one in classes:
        assert sum(of_one >= set(group) for group in groups) == len(of_one) // 3
    assert len(groups) == sum(size // 3 for size in sizes)


def test_one_class_of_all_changes_nothing():
    for how in ("fixed", "random", "redrawn"):
        assert draw_groups(range(9), 3, how, 1, 5, [range(9)]) == draw_groups(range(9), 3, how, 1, 5)


def test_within_a_class_every_pair_meets_equally_often():
    counts = Counter()
    for step in range(3000):
        for group in draw_groups(range(9), 3, "redrawn", 3, step, [range(5), range(5, 9)]):
            counts.update((a, b) for a in group for b in group if a < b)
    small = [counts[pair] for pair in counts if pair[0] >= 5]
    large = [counts[pair] for pair in counts if pair[1] < 5]
    assert (len(large), len(small)) == (10, 6)
    assert max(small) - min(small) < 300
    assert max(large) - min(large) < 300


def test_redrawn_groups_bring_every_pair_together_equally_often():
    # Under a uniform draw a pair of 9 workers shares a group of 3 with probability 2/8.
    draws = 4000
    together = Counter()
    for step in range(draws):
        for group in draw_groups(range(9), 3, "redrawn", 3, step):
            together.update((a, b) for a in group for b in group if a < b)
    frequencies = np.array([together[a, b] for a in range(9) for b in range(a + 1, 9)]) / draws
    assert np.abs(frequencies - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / draws)


@pytest.mark.parametrize("train_size", [50, 97, 1000])
def test_an_epoch_visits_each_sample_once(train_size):
    files = Files(count=5, size=6, train_size=train_size, seed=4)
    steps = 4 * train_size // 30 + 1
    drawn = np.concatenate([files.draw(step).ravel() for step in range(1, steps + 1)])
    for epoch in range(len(drawn) // train_size):
        assert sorted(drawn[epoch * train_size : (epoch + 1) * train_size]) == list(range(train_size))


def test_every_r_sees_the_same_samples_in_a_step():
    vanilla = Files(count=45, size=32, train_size=1000, seed=0)
    detox = Files(count=15, size=96, train_size=1000, seed=0)
    for step in (1, 2, 17):
        assert vanilla.draw(step).ravel().tolist() == detox.draw(step).ravel().tolist()


def test_with_shards_an_epoch_of_each_file_visits_its_shard_once_and_nothing_else():
    shards = (np.array([3, 1, 4]), np.array([0, 2]), np.array([5, 6, 7, 8, 9]))
    files = Files(count=3, size=2, train_size=10, seed=4, shards=shards)
    drawn = np.concatenate([files.draw(step) for step in range(1, 31)], axis=1)
    assert drawn.shape == (3, 60)
    for shard, samples in zip(shards, drawn, strict=True):
        epochs = samples.reshape(-1, len(shard))
        assert (np.sort(epochs, axis=1) == np.sort(shard)).all()
        assert len({tuple(epoch) for epoch in epochs}) > 1
    assert (Files(3, 2, 10, 4, shards).draw(7) == files.draw(7)).all()
    assert (Files(3, 2, 10, 5, shards).draw(7) != files.draw(7)).any()


def test_with_fewer_files_than_shards_the_shards_take_turns():
    shards = tuple(np.arange(10) + 10 * i for i in range(5))
    files = Files(5, 2, 50, seed=3, shards=shards)
    seen = [[int(samples[0]) // 10 for samples in files.draw(step, 4)] for step in range(1, 6)]
    assert Counter(chain(*seen)) == dict.fromkeys(range(5), 4)
    assert all(len(set(of_step)) == 4 for of_step in seen)
    assert np.array_equal(Files(5, 2, 50, seed=3).draw(7, 4), Files(5, 2, 50, seed=3).draw(7)[:4])


def test_a_file_can_be_larger_than_its_shard():
    files = Files(count=1, size=7, train_size=3, seed=0, shards=(np.arange(3),))
    assert np.bincount(np.concatenate([files.draw(step)[0] for step in (1, 2, 3)])).tolist() == [7, 7, 7]


def test_file_seeds_differ_by_step_and_file_and_repeat():
    files = Files(3, 4, 100, seed=1)
    seeds = {files.file_seed(step, file) for step in range(1, 20) for file in range(3)}
    assert len(seeds) == 57
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert Files(3, 4, 100, seed=1).file_seed(5, 2) == files.file_seed(5, 2)


LAZY = st.tuples(st.integers(1, 40), st.sampled_from([1, 3, 5, 7])).filter(lambda s: s[0] >= s[1])


@given(LAZY, st.sampled_from(["fixed", "random", "redrawn"]), st.integers(0, 2**64))
def test_lazily_each_worker_has_one_file_at_first_and_one_other_at_most(shape, how, seed):
    p, r = shape
    m = (r + 1) // 2
    assignment = SCHEMES[how](r, seed, lazy=True).draw(3, range(p))
    assert len(assignment.holders) == p // m
    assert all(len(set(holders)) == r for holders in assignment.holders)
    assert all(m <= first < 2 * m for first in assignment.first)
    assert sorted(worker for worker, _ in assignment.edges) == list(range(p))
    assert all(len(assignment.files(worker)) <= 2 for worker in range(p))


def bad_files(holders, r, byzantine):
    return sum(2 * len(byzantine.intersection(of_one)) > r for of_one in holders)


SMALL = [(p, r) for r in (3, 5) for p in range(r, 12)] + [(8, 7), (11, 7)]


@pytest.mark.parametrize(("p", "r"), SMALL)
def test_lazily_a_vote_is_bad_as_often_and_the_worst_case_holds(p, r):
    scheme = SCHEMES["fixed"](r, lazy=True)
    holders = scheme.draw(1, range(p)).holders
    for q in range(p + 1):
        found = [bad_files(holders, r, set(chosen)) for chosen in combinations(range(p), q)]
        assert Fraction(sum(found), len(found) * len(holders)) == bad_group(p, q, r)
        assert max(found) <= scheme.worst_case(q, len(holders)) <= len(holders)


@pytest.mark.parametrize(("p", "r"), [(8, 3), (10, 3), (12, 5), (15, 5)])
def test_the_worst_case_of_lazy_copies_is_reached_at_three(p, r):
    scheme = SCHEMES["fixed"](r, lazy=True)
    holders = scheme.draw(1, range(p)).holders
    for q in range(p // 2):
        most = max(bad_files(holders, r, set(chosen)) for chosen in combinations(range(p), q))
        assert scheme.worst_case(q, len(holders)) - most <= (r > 3)


def test_within_classes_lazy_files_stay_in_one_class():
    classes = [range(5), range(5, 7), range(7, 16)]
    assignment = SCHEMES["redrawn"](3, 1, classes, lazy=True).draw(2, range(16))
    assert len(assignment.holders) == 2 + 0 + 4
    assert all(any(set(holders) <= set(members) for members in classes) for holders in assignment.holders)


AUDITED = st.integers(3, 40).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, (p - 1) // 2)))


@given(AUDITED, st.integers(0, 2**64), st.integers(1, 100))
def test_an_auditor_has_no_file_of_its_own_and_everyone_has_one_at_first(shape, seed, step):
    p, k = shape
    assignment = AuditedFiles(k, seed).draw(step, range(p))
    assert len(assignment.holders) == p - k
    assert sorted(worker for worker, _ in assignment.edges) == list(range(p))
    assert sorted(map(len, assignment.holders)) == [1] * (p - 2 * k) + [3] * k
    assert all(len(set(holders)) == len(holders) for holders in assignment.holders)


@pytest.mark.parametrize(("p", "k"), [(5, 1), (7, 2), (9, 4)])
def test_each_bad_vote_of_audited_files_takes_a_byzantine_worker_more(p, k):
    scheme = AuditedFiles(k, 1)
    holders = scheme.draw(1, range(p)).holders
    for q in range(p + 1):
        bad = [
            sum(2 * len(set(chosen).intersection(of)) > len(of) for of in holders)
            for chosen in combinations(range(p), q)
        ]
        assert max(bad) <= scheme.worst_case(q, len(holders))


def test_all_workers_audit_equally_often_and_all_files_are_audited():
    auditors, files = Counter(), Counter()
    for step in range(1, 2001):
        for file, holders in enumerate(AuditedFiles(1, 5).draw(step, range(9)).holders):
            if len(holders) == 3:
                auditors[holders[1]] += 1
                files[file] += 1
    assert all(abs(count - 2000 / 9) < 80 for count in (auditors[worker] for worker in range(9)))
    assert all(abs(count - 2000 / 8) < 80 for count in (files[file] for file in range(8)))


@pytest.mark.parametrize("sizes", [(4, 6), (3, 5, 4), (5, 7)])
@pytest.mark.parametrize("r", [3, 5])
def test_the_worst_case_of_lazy_copies_holds_within_classes(sizes, r):
    ends = np.cumsum((0, *sizes))
    classes = [range(begin, end) for begin, end in pairwise(ends)]
    scheme = SCHEMES["fixed"](r, 0, classes, lazy=True)
    holders = scheme.draw(1, range(sum(sizes))).holders
    for q in range(5):
        most = max(bad_files(holders, r, set(chosen)) for chosen in combinations(range(sum(sizes)), q))
        assert most <= scheme.worst_case(q, len(holders))
