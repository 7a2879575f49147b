import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.tasks.shards import cut

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(np.array)
SPLITS = st.sampled_from(["dirichlet", "label", "similarity"])
ALPHAS = st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 100.0, 1e6])


@given(LABELS, st.integers(1, 80), SPLITS, ALPHAS, st.integers(0, 2**40))
def test_every_sample_is_in_exactly_one_shard_and_the_shards_are_equally_large(labels, count, split, alpha, seed):
    count, alpha = min(count, len(labels)), min(alpha, 1.0) if split == "similarity" else alpha
    shards = cut(labels, count, split, alpha, seed)
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(labels)))
    sizes = [len(shard) for shard in shards]
    assert len(sizes) == count
    assert max(sizes) - min(sizes) <= 1


@given(LABELS, st.integers(1, 80), st.integers(0, 100))
def test_by_label_the_shards_are_consecutive_pieces_of_the_sorted_samples(labels, count, seed):
    shards = cut(labels, min(count, len(labels)), "label", 1.0, seed)
    assert np.concatenate([labels[shard] for shard in shards]).tolist() == sorted(labels.tolist())


@pytest.mark.parametrize("split", ["dirichlet", "label", "similarity"])
def test_shards_follow_from_the_seed(split):
    labels = np.random.default_rng(0).integers(0, 10, 500)
    one, same, other = (cut(labels, 7, split, 0.5, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("split", ["dirichlet", "label", "similarity"])
def test_which_samples_of_a_label_a_shard_gets_is_random(split):
    shards = cut(np.zeros(1000, int), 2, split, 1.0, 0)
    assert 200 < (shards[0] < 500).sum() < 300


@pytest.mark.parametrize(("share", "kinds"), [(0.0, 2), (0.5, 10), (1.0, 10)])
def test_similarity_deals_a_share_to_all_and_the_rest_by_label(share, kinds):
    labels = np.arange(2000) % 10
    counts = [np.bincount(labels[shard], minlength=10) for shard in cut(labels, 5, "similarity", share, 3)]
    assert all((count > 0).sum() == kinds for count in counts)
    assert all(abs(np.sort(count)[-2:].sum() - (400 - 0.8 * 400 * share)) < 40 for count in counts)


def proportions(shards, labels):
    return np.array([np.bincount(labels[shard], minlength=10) / len(shard) for shard in shards])


@pytest.mark.parametrize("alpha", [1.0, 3.0, 10.0])
def test_dirichlets_proportions_are_as_concentrated_as_the_definition_has_it(alpha):
    # Of proportions from Dirichlet(alpha / 10, ...), the squares have the mean sum (alpha / 10 + 1) / (alpha + 1); n
    # draws from them add a share of 1 / n of what is missing to 1.
    labels, count = np.repeat(np.arange(10), 600), 50
    squares = [(proportions(cut(labels, count, "dirichlet", alpha, s), labels) ** 2).sum(axis=1) for s in range(20)]
    mean = (alpha / 10 + 1) / (alpha + 1)
    expected = mean + (1 - mean) * count / len(labels)
    assert np.mean(squares) == pytest.approx(expected, rel=0.15)


def test_dirichlet_is_iid_with_a_great_alpha_and_nearly_by_label_with_a_small_one():
    labels = np.repeat(np.arange(10), 600)
    alike = proportions(cut(labels, 20, "dirichlet", 1e6, 0), labels)
    # Four standard deviations of a binomial share of 0.1; the shard that is filled last deviates more.
    assert np.sort(np.abs(alike - 0.1).max(axis=1))[-2] < 4 * np.sqrt(0.09 / 300)
    apart = proportions(cut(labels, 20, "dirichlet", 1e-4, 0), labels)
    assert np.median(apart.max(axis=1)) == 1


def test_dirichlet_follows_the_proportions_of_a_training_set_that_is_not_balanced():
    labels = np.repeat([0, 1], [9000, 1000])
    shards = cut(labels, 10, "dirichlet", 1e6, 0)
    assert np.mean([labels[shard].mean() < 0.15 for shard in shards]) >= 0.9
