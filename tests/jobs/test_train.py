"""Whole runs: what votes, attacks, ranks and compression do to the weights, and what a mistake is told like."""

import pytest

from detox.wire import codec


@pytest.fixture(scope="module")
def plain(here):
    """The summary of run.toml."""
    return here.run()


def test_training_repeats_bit_for_bit_whatever_the_number_of_ranks(here, plain):
    again, spread = here.run(), here.run(n=4)
    assert plain["weights_digest"] == again["weights_digest"] == spread["weights_digest"]
    assert plain["dissents"] == again["dissents"] == spread["dissents"]
    assert plain["steps"] == 20
    assert plain["test_accuracy"] > 0.5


def test_claims_need_a_third_of_the_bytes_of_full_copies(here):
    options = ("--model", "mlp", "--steps", "5", "--forensics.every", "0")
    digest = here.run(*options, n=2)
    full = here.run(*options, "--vote", "full", n=2)
    assert digest["weights_digest"] == full["weights_digest"]
    assert digest["bytes_into_ps"] <= 0.34 * full["bytes_into_ps"]


def test_wrong_gradients_that_are_outvoted_change_no_bit_and_are_named(here):
    # One Byzantine worker, so never a majority of a group.
    honest = here.run("--q", "0")
    fixed = ("--attack.placement", "fixed", "--quarantine.policy", "never")
    attacked = here.run("--q", "1", *fixed, "--aggregator.f", "0")
    assert attacked["weights_digest"] == honest["weights_digest"]
    assert honest["votes"] == {"unanimous": 60, "majority": 0, "none": 0, "recomputed": 0}
    assert attacked["votes"] == {"unanimous": 40, "majority": 20, "none": 0, "recomputed": 0}
    assert list(attacked["dissents"].values()) == [20]
    assert honest["dissents"] == {}


@pytest.mark.parametrize("options", [["--share-compute"], ["--compression.codec", "none", "--vote", "full"]])
def test_sharing_computation_compression_and_the_kind_of_vote_change_no_bit(here, plain, options):
    summary = here.run(*options)
    assert summary["weights_digest"] == plain["weights_digest"]
    assert summary["votes"] == plain["votes"]
    assert summary["dissents"] == plain["dissents"]


def test_the_vanilla_system_runs_through_the_same_loop(here):
    summary = here.run("--r", "1", "--q", "2", n=2)
    assert summary["votes"] == {"unanimous": 180, "majority": 0, "none": 0, "recomputed": 0}
    assert summary["test_accuracy"] > 0.5


def test_colluders_that_know_one_file_have_nothing_to_hide_behind(here):
    summary = here.run("--attack.kind", "alie", "--attack.placement", "worst")
    assert summary["votes"] == {"unanimous": 60, "majority": 0, "none": 0, "recomputed": 0}


NORMED = """
import torch
from detox.tasks.classification import Classification
from detox.tasks.datasets import load_digits
from torch import nn


def build(shape, classes):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))


class Normed(Classification):
    def __init__(self, *, device):
        super().__init__(load_digits(None), build, device)
"""


def test_batch_norm_statistics_go_through_the_vote_to_the_model_of_the_ps(here, tmp_path):
    (tmp_path / "normed.py").write_text(NORMED)
    options = ("--task", "normed:Normed", "--model", "None", "--optimizer.lr", "0.1")
    files = (tmp_path / "normed.py",)
    honest = here.run(*options, "--q", "0", n=2, files=files)
    # Outvoted answers about gradient and statistics alike leave no trace.
    attacked = here.run(*options, "--q", "1", "--aggregator.f", "0", "--attack.kind", "constant", files=files)
    assert attacked["weights_digest"] == honest["weights_digest"]
    # With the statistics of the untrained model, 0 and 1, it would be far off.
    assert honest["test_accuracy"] > 0.7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--p", "10"], "p = 10 workers cannot be split into groups of r = 3; take p = 9"),
        (["--workers-per-rank", "3"], "take 4 ranks, the PS included; mpirun started 3: use -n 4"),
        (["--task", "fashion-mnist", "--data-dir", "nowhere", "--model", "lenet"], "dataset-fashion-mnist"),
        (["--optimizer.name", "Sgd"], "torch.optim has no Sgd"),
    ],
)
def test_a_mistake_in_the_config_is_told_once_and_in_words(here, arguments, words):
    job = here.start(*arguments)
    assert (job.status, job.orderly) == (2, True)
    assert job.text.count(words) == 1
    assert len(job.text.splitlines()) == 1
    assert not job.errors


@pytest.mark.parametrize(
    "options", [[], ["--vote", "full", "--compression.codec", "none"], ["--compression.kind", "sign"]]
)
def test_gradients_in_many_chunks_train_to_the_same_bits(here, monkeypatch, options):
    short = ("--steps", "3", *options)
    whole = here.run(*short)
    monkeypatch.setattr(codec, "CHUNK", 200)
    chunked = here.run(*short)
    for fact in ("weights_digest", "votes", "dissents"):
        assert chunked[fact] == whole[fact]
