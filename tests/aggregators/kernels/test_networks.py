import itertools
import random

import numpy as np
import pytest

from detox.aggregators.kernels.networks import batcher, local, prune


def run(network, values):
    values = list(values)
    for i, j in network:
        values[i], values[j] = min(values[i], values[j]), max(values[i], values[j])
    return values


@pytest.mark.parametrize("n", range(1, 13))
def test_network_sorts_all_zeros_and_ones_and_hence_everything(n):
    network = batcher(n)
    assert all(i < j < n for i, j in network)
    for bits in itertools.product((0, 1), repeat=n):
        assert run(network, bits) == sorted(bits)


@pytest.mark.parametrize("n", [33, 45, 64, 100])
def test_network_sorts_many(n):
    for seed in range(20):
        values = random.Random(seed).choices(range(n), k=n)
        assert run(batcher(n), values) == sorted(values)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 15, 45])
def test_pruned_network_keeps_what_is_wanted(n):
    full = batcher(n)
    trim = n // 5
    single, summed = {n // 2, 0}, range(trim, n - trim)
    pruned = prune(full, single, summed)
    middle = prune(full, {n // 2})
    total = prune(full, (), range(n))
    assert total == []
    assert len(middle) <= len(pruned) <= len(full)
    for seed in range(30):
        values = np.random.default_rng(seed).integers(0, 1000, n).tolist()
        done = run(pruned, values)
        assert all(done[i] == sorted(values)[i] for i in single)
        assert sum(done[trim : n - trim]) == sum(sorted(values)[trim : n - trim])
        assert run(middle, values)[n // 2] == sorted(values)[n // 2]


@pytest.mark.parametrize("n", [1, 2, 7, 15, 45])
def test_a_network_in_another_order_is_the_same_network(n):
    network = prune(batcher(n), {n // 2})
    ordered = local(network)
    assert sorted(ordered) == sorted(network)
    for wire in range(n):  # each wire meets the same comparators one after another
        assert [pair for pair in ordered if wire in pair] == [pair for pair in network if wire in pair]


def test_local_order_comes_back_to_values_sooner():
    """Loads of values that eight registers, the last used kept, no longer hold."""

    def loads(network):
        held, count = [], 0
        for pair in network:
            count += sum(wire not in held for wire in pair)
            held = [wire for wire in held if wire not in pair][-6:] + list(pair)
        return count

    for n in (15, 45):
        assert 2 * loads(local(batcher(n))) < loads(batcher(n))
