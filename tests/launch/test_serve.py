from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.config import Config, ConfigError
from detox.launch.mpirun import assign_ranks
from detox.launch.ranks import read_facts
from detox.launch.training import check_classes
from detox.ps.selftest import StartError, UnequalError, check_answers, check_own_bits, classes_of, probe, unequal
from detox.tasks.samples import Files
from detox.wire import Kind, digest_of
from detox.wire.memory import Network


def test_a_split_without_labels_or_with_more_files_than_samples_is_told():
    config = Config(p=9, r=3, data={"split": "label"})
    unlabelled = SimpleNamespace(train_size=20, train_labels=None)
    with pytest.raises(ConfigError, match=r"needs labels: task digits has to set train_labels .* shape \(20,\)"):
        config.create_files(unlabelled)
    for wrong in (np.zeros(21, int), np.zeros(20), [0] * 20):
        with pytest.raises(ConfigError, match="needs labels"):
            config.create_files(SimpleNamespace(train_size=20, train_labels=wrong))
    with pytest.raises(ConfigError, match="2 training samples cannot be cut into 3 shards"):
        config.create_files(SimpleNamespace(train_size=2, train_labels=np.zeros(2, int)))
    assert Config(p=9, r=3).create_files(unlabelled).shards == ()


@given(st.integers(1, 60), st.integers(1, 60))
def test_workers_are_spread_in_blocks_over_all_ranks(p, hosts):
    config = Config(p=p, r=1)
    if hosts > p:
        with pytest.raises(ConfigError, match=f"the PS and p = {p} worker{'s' * (p > 1)}: use -n {p + 1}"):
            assign_ranks(config, hosts)
        return
    ranks = assign_ranks(config, hosts)
    assert ranks == sorted(ranks)
    sizes = [ranks.count(rank) for rank in range(1, hosts + 1)]
    assert sum(sizes) == p
    assert max(sizes) - min(sizes) <= 1


def test_workers_per_rank_decides_the_number_of_ranks():
    config = Config(p=7, r=1, workers_per_rank=3)
    assert assign_ranks(config, 3) == [1, 1, 1, 2, 2, 2, 3]
    with pytest.raises(ConfigError, match="mpirun started 3: use -n 4"):
        assign_ranks(config, 2)


@pytest.mark.parametrize("payload", [b"", b"{", b"[1]", b"\xff", b'{"host": {}}', b"[" * 60_000, b"3"])
def test_a_ready_that_cannot_be_read_is_told_with_its_rank(payload):
    with pytest.raises(StartError, match="rank 4"):
        read_facts(4, payload)


def test_what_a_rank_says_of_itself_cannot_harm_a_terminal():
    facts = read_facts(4, b'{"host": "\\ud800\\u001b]0;x\\u0007 ' + b"y" * 9000 + b'", "threads": 1}')
    assert facts["threads"] == "1"
    assert facts["host"].startswith("??]0;x? yy")
    assert len(facts["host"]) == 500


def test_the_self_test_names_the_few_that_differ():
    facts = {rank: {"host": f"h{rank}", "threads": 1, "gpu": ""} for rank in range(1, 4)}
    ranks = [1, 1, 2, 2, 3, 3]
    assert unequal(dict.fromkeys(range(6), b"a"), ranks, facts) == []
    lines = unequal({0: b"b", 1: b"b", 2: b"a", 3: b"a", 4: b"a", 5: b"c"}, ranks, facts)
    assert "rank 2 (host h2, threads 1)" in lines[0]
    assert [line.split()[1] for line in lines[1:]] == ["1", "3"]


def test_where_no_two_workers_agree_none_is_called_the_most():
    facts = {rank: {"host": f"h{rank}"} for rank in (1, 2)}
    lines = unequal({worker: bytes([worker]) for worker in range(6)}, [1, 1, 1, 2, 2, 2], facts)
    assert "no two workers compute equal bits: the task is not deterministic, or no two ranks are alike" in lines[0]
    assert lines[1:] == ["rank 1 (host h1)", "rank 2 (host h2)"]


def test_workers_with_equal_bits_are_a_class_the_largest_first():
    digests = {0: b"y", 1: b"x", 2: b"x", 3: b"y", 4: b"x", 5: b"z"}
    assert classes_of(digests) == ((1, 2, 4), (0, 3), (5,))


def test_what_classes_leave_is_said_and_too_few_votes_are_told():
    config = Config(p=15, q=1, r=3, aggregator={"name": "median"})
    classes = (tuple(range(8)), tuple(range(8, 15)))
    assert check_classes(config, classes) == (
        "classes of 8, 7 workers with equal bits make 4 groups of 3; 3 workers have nothing to do"
    )
    with pytest.raises(
        ConfigError,
        match=r"^groups_within = class: .* make 0 groups of 3; 15 workers have nothing to do, and the aggregator: ",
    ):
        check_classes(config, tuple((worker,) for worker in range(15)))


def test_a_ps_that_is_to_judge_has_to_compute_the_bits_of_every_worker():
    class Model:
        def compute(self, indices, seed):
            return np.zeros(2, np.float32)

    own, files, ranks = digest_of(np.zeros(2, np.float32)), Files(3, 4, 1000, 0), [1, 1, 2, 2, 3, 3]
    check_own_bits(dict.fromkeys(range(6), own), ranks, Model(), files)
    with pytest.raises(UnequalError, match=r"1 of 6 workers \(rank 2\)"):
        check_own_bits(dict.fromkeys(range(6), own) | {3: bytes(32)}, ranks, Model(), files)


def test_the_self_test_names_the_dead_and_not_those_that_answered():
    network, ranks, channels = Network(), [1, 2, 3], {}

    def claim(rank, message):
        if message.header.kind == Kind.WORK:
            channels[rank].send([0], replace(message.header, kind=Kind.CLAIM), bytes(32))

    channels.update({rank: network.channel(rank, [0], partial(claim, rank)) for rank in (1, 3)})
    session = network.session(0, ranks)
    network.later(1, partial(network.kill, 2))
    digests = probe(session, ranks, SimpleNamespace(weights=np.zeros(3, np.float32)), Files(3, 1, 10, 0), 30)
    assert sorted(digests) == [0, 2]
    assert network.now < 2
    with pytest.raises(StartError, match="rank 2 did not"):
        check_answers(digests, ranks)
