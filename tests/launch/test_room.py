"""A model that a host has no memory for is refused, with what to do, before anything long is made of it."""

import pytest

from detox.config import Config, ConfigError
from detox.config.memory import LOADED, of_rank, of_server
from detox.launch.room import room_for_rank, room_for_server
from detox.ps.optimizers import kept_by
from detox.tasks import FlatModel, create_task

D = 10**6
CONFIG = Config(p=9, q=1, r=3)


@pytest.mark.parametrize(
    ("fields", "vectors"),
    [
        ({}, 3 + 3),  # three votes, and as many gradients on their way
        ({"vote": "full"}, 9 + 9),
        (
            {"servers": 2},
            3 / 2 + 4,
        ),  # its half of the votes; and the newest, the best, and a checkpoint being put together
        ({"optimizer": {"ema": 0.9}, "p": 3, "q": 0}, 1 + 3),
    ],
)
def test_a_server_keeps_the_votes_and_what_is_on_its_way_or_being_written(fields, vectors):
    assert of_server(CONFIG.model_copy(update=dict(Config(**{"p": 9, "q": 1, "r": 3} | fields)))) == vectors


def test_a_rank_keeps_a_claim_of_each_worker_and_what_it_sends_of_them():
    assert of_rank(CONFIG, 3) == 4 + 3 + 3
    shared = CONFIG.model_copy(update={"share_compute": True})
    assert of_rank(shared, 9) == 4 + 3 + 3
    assert of_rank(shared.model_copy(update={"vote": "full"}), 9) == 4 + 3 + 9


@pytest.mark.parametrize(
    ("name", "arguments", "vectors"),
    [("SGD", {"lr": 0.1}, 0), ("SGD", {"lr": 0.1, "momentum": 0.9}, 1), ("Adam", {"lr": 0.1}, 2)],
)
def test_what_an_optimizer_keeps_is_counted(name, arguments, vectors):
    assert kept_by(name, arguments) == vectors


def test_a_host_that_has_just_enough_admits_a_model_and_one_with_less_says_so():
    needed = 4 * D * round(LOADED + of_server(CONFIG))
    ranks = list(range(1, 10))
    room_for_server(CONFIG, ranks, available=needed, all_here=False)(D, 0)
    with pytest.raises(ConfigError, match=r"the PS takes 9 vectors of 1000000 numbers, .* several servers"):
        room_for_server(CONFIG, ranks, available=needed - 1, all_here=False)(D - 10, 10)
    needed = 4 * D * (LOADED + of_rank(CONFIG, 1))
    room_for_rank(CONFIG, 1, ranks, available=needed)(D, 0)
    with pytest.raises(ConfigError, match=r"rank 1 takes 9 vectors .* fewer workers a rank"):
        room_for_rank(CONFIG, 1, ranks, available=needed - 1)(D, 0)


def test_ranks_that_share_the_hosts_memory_with_the_ps_are_counted_with_it():
    ranks = [1] * 5 + [2] * 4
    together = 4 * D * (round(LOADED + of_server(CONFIG)) + 2 * LOADED + of_rank(CONFIG, 5) + of_rank(CONFIG, 4))
    room_for_server(CONFIG, ranks, available=together, all_here=True)(D, 0)
    with pytest.raises(ConfigError, match=r"the run takes 41 vectors .* more hosts, fewer workers"):
        room_for_server(CONFIG, ranks, available=together - 1, all_here=True)(D, 0)


def test_memory_that_is_not_known_refuses_nothing():
    room_for_server(CONFIG, [1] * 9, available=0, all_here=True)(D, 0)


def test_a_model_is_refused_before_its_vectors_are_made():
    told = []

    def refuse(d, b):
        told.append((d, b))
        raise ConfigError("too long")

    with pytest.raises(ConfigError, match="too long"):
        FlatModel.build(create_task("digits", model="softmax"), 0, None, refuse)
    assert told == [(650, 0)]
