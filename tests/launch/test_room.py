"""A model that a host has no memory for is refused, with what to do, before anything long is made of it."""

import math
from functools import partial

import pytest

from detox.config import Config, ConfigError
from detox.config.memory import least, of_model, of_rank, of_server
from detox.launch.room import room_for_rank, room_for_server
from detox.ps.optimizers import kept_by
from detox.tasks import FlatModel, create_task

D = 10**6  # less than a chunk
CONFIG = Config(p=9, q=1, r=3)


@pytest.mark.parametrize(
    ("fields", "vectors"),
    [
        ({}, 3 + 1 + 3),  # three votes, one that a dissenter is examined by, and as many gradients on their way
        ({"forensics": {"every": 0}}, 3 + 3),
        ({"vote": "full"}, 9 + 9),
        (
            {"servers": 2},
            3 / 2 + 4,
        ),  # its half of the votes; and the newest, the best, and a checkpoint being put together
        ({"optimizer": {"ema": 0.9}, "p": 3, "q": 0}, 1 + 1 + 1 + 4),  # the mean, and copies as it is written
        ({"optimizer": {"ema": 0.9}}, 3 + 1 + 1 + 4),
        ({"aggregator": {"name": "centered_clipping"}}, 3 + 1 + 1 + 3),  # from the last update
        ({"compute": "batched"}, 48),  # before there are votes
        ({"compute": "batched", "on_tie": "recompute"}, 3 + 1 + 3 + 48),
    ],
)
def test_a_server_keeps_the_votes_and_what_is_on_its_way_or_being_written(fields, vectors):
    assert of_server(CONFIG.model_copy(update=dict(Config(**{"p": 9, "q": 1, "r": 3} | fields))), D) == vectors


def test_of_a_long_gradient_a_few_chunks_are_on_their_way():
    size = 160 * 2**20
    assert of_server(CONFIG, size) == 3 + 1 + 2  # copies of the weights
    assert of_server(CONFIG, size, further=True) == 3 + 2
    full = CONFIG.model_copy(update={"vote": "full", "p": 300})
    assert of_server(full, size) == 300 + 300 * 2 / 160
    assert of_rank(CONFIG, 3, size) == 4 + 3 + (3 + 16) / 160


def test_a_rank_keeps_a_claim_of_each_worker_and_what_it_sends_of_them():
    assert of_rank(CONFIG, 3, D) == 4 + 3 + 3
    shared = CONFIG.model_copy(update={"share_compute": True})
    assert of_rank(shared, 9, D) == 4 + 3 + 3
    assert of_rank(shared.model_copy(update={"vote": "full"}), 9, D) == 4 + 3 + 9


def test_for_ranks_that_come_by_themselves_the_ps_keeps_the_weights_of_the_self_test():
    assert of_server(CONFIG, D, admits=True) == 1 + 3 + 1 + 3


def test_what_the_optimizer_keeps_is_there_twice_as_it_is_written():
    size = 160 * 2**20
    assert of_server(CONFIG, size, state=2) == 3 + 1 + 2 + (2 + 2)
    assert of_server(CONFIG, size, state=2, further=True) == 3 + 2 + 2 * 3


def test_what_a_server_keeps_on_a_gpu_from_step_to_step_takes_nothing_of_the_host():
    config = Config(p=9, q=1, r=3, device="cuda", optimizer={"ema": 0.9})
    assert of_server(config, D, state=2) == 3 + 1 + 4


@pytest.mark.parametrize(
    ("fields", "vectors"),
    [
        ({"worker_momentum": 0.9, "groups": "fixed"}, 9 + 9 + 2 + 3),  # claims, no longer the same arrays, and momenta
        ({"compression": {"kind": "sign"}}, 9 + 3),
        ({"compute": "batched"}, 48 + 3 + 3),
        ({"q": 2, "attack": {"kind": "alie"}}, 3 + 3 + 4 * 2 + 2),  # what they tell of two steps, and the attack
        ({"q": 2, "attack": {"kind": "alie", "knowledge": "omniscient"}}, 3 + 3 + 4 * 3 + 2),
        ({"q": 2, "attack": {"when": "majority"}}, 3 + 3 + 2),
        ({"q": 2}, 3 + 3),
    ],
)
def test_what_the_workers_of_a_rank_keep_beside_their_claims_is_counted(fields, vectors):
    config = Config(**{"p": 9, "q": 0, "r": 3, "share_compute": True, "quarantine": {"policy": "never"}} | fields)
    assert of_rank(config, 9, D) == 4 + vectors


@pytest.mark.parametrize(
    ("name", "arguments", "vectors"),
    [("SGD", {"lr": 0.1}, 0), ("SGD", {"lr": 0.1, "momentum": 0.9}, 1), ("Adam", {"lr": 0.1}, 2)],
)
def test_what_an_optimizer_keeps_is_counted(name, arguments, vectors):
    assert kept_by(name, arguments) == vectors


def _said(admit, available):
    """What is said of a model of so many entries; an error where it is refused."""
    said = []
    admit(available=available, warn=said.append)(D - 10, 10)
    return said


@pytest.mark.parametrize(
    ("admit", "vectors", "words"),
    [
        (
            partial(room_for_server, CONFIG, list(range(1, 10)), all_here=False, admits=False),
            10,
            "the PS .* several servers",
        ),
        (partial(room_for_rank, CONFIG, 1, list(range(1, 10))), 9, "rank 1 .* fewer workers a rank"),
        (  # whose ranks share the host's memory with the PS
            partial(room_for_server, CONFIG, [1] * 5 + [2] * 4, all_here=True, admits=False),
            10 + (3 + 4 + 5 + 5) + (3 + 4 + 4 + 4),
            "the run .* more hosts, fewer workers",
        ),
    ],
)
def test_a_host_with_less_is_warned_of_and_one_with_far_too_little_is_refused(admit, vectors, words):
    who, advice = words.split(" .* ")
    enough = 4 * D * vectors
    assert _said(admit, enough) == []
    for little in (enough - 1, math.ceil(least(CONFIG) * enough)):
        (said,) = _said(admit, little)
        assert f"{who} takes {vectors} vectors of 1000000 numbers" in said
        assert advice in said
    with pytest.raises(ConfigError, match=rf"{who} takes {vectors} vectors of 1000000 numbers, .* {advice}"):
        _said(admit, math.ceil(least(CONFIG) * enough) - 1)


def test_a_rank_that_has_no_colluder_is_not_refused_for_what_it_would_be_told():
    colluding = CONFIG.model_copy(update={"q": 2, "attack": CONFIG.attack.model_copy(update={"kind": "alie"})})
    without, told = (of_model(CONFIG) + of_rank(config, 1, D) for config in (CONFIG, colluding))
    assert without < told
    admit = partial(room_for_rank, colluding, 1, list(range(1, 10)))
    assert _said(admit, math.ceil(0.41 / 0.4 * least(colluding) * 4 * D * told))
    with pytest.raises(ConfigError, match="rank 1 takes"):
        _said(admit, math.floor(least(colluding) * 4 * D * told) - 1)


def test_memory_that_is_not_known_refuses_nothing():
    assert _said(partial(room_for_server, CONFIG, [1] * 9, all_here=True, admits=False), 0) == []


def test_of_a_model_on_a_gpu_less_is_in_the_hosts_memory():
    assert of_model(CONFIG) == 3  # weights, gradient, and a copy of the weights
    assert of_model(CONFIG.model_copy(update={"device": "cuda"})) == 1


def test_a_model_is_refused_before_its_vectors_are_made():
    told = []

    def refuse(d, b):
        told.append((d, b))
        raise ConfigError("too long")

    with pytest.raises(ConfigError, match="too long"):
        FlatModel.build(create_task("digits", model="softmax"), 0, None, refuse)
    assert told == [(650, 0)]
