import tracemalloc
from collections import deque
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from detox.aggregators import create_hierarchy
from detox.wire import PROBE, Header, Kind
from detox.worker import adversary as module
from detox.worker.adversary import Adversary
from detox.worker.attacks import ATTACKS
from detox.worker.defence import Defence
from detox.worker.placement import Placement

# Workers 0..5 on ranks 1, 1, 2, 2, 3, 3; Byzantine are 0 and 1 (one group), 2 and 4 (other groups).
RANKS = [1, 1, 2, 2, 3, 3]
FILES = {0: 7, 1: 7, 2: 8, 4: 9}


class Everyone:
    """All ranks' mail in one place."""

    def __init__(self):
        self.boxes = {1: deque(), 2: deque(), 3: deque()}

    def of(self, rank):
        def send(peers, header, payload):
            for peer in peers:
                assert peer != rank
                self.boxes[peer].append(SimpleNamespace(source=rank, header=header, payload=bytes(payload)))

        def receive():
            while self.boxes[rank]:
                yield self.boxes[rank].popleft()

        def sending(peer):
            return sum(message.source == rank for message in self.boxes[peer])

        return SimpleNamespace(send=send, receive=receive, sending=sending)


def _adversaries(kind, scale, mail, wait=60.0, placement=None, **options):
    placement = placement or SimpleNamespace(byzantine=lambda step: frozenset(FILES))
    ranks = (1, 2, 3)
    return {r: Adversary(kind, scale, placement, RANKS, r, mail.of(r), wait, seed=3, **options) for r in ranks}


def _take(adversaries, worker, vector, step=5):
    header = Header(Kind.WORK, step, worker, FILES[worker])
    adversaries[RANKS[worker]].take(worker, header, vector)


def _answers(adversaries):
    return {ticket: sent for rank in adversaries for ticket, sent in adversaries[rank].answers()}


def test_colluders_wait_for_each_other_and_then_send_equal_bits():
    adversaries = _adversaries("alie", 1.5, Everyone())
    honest = {7: np.array([1, 2], np.float32), 8: np.array([3, 2], np.float32), 9: np.array([8, 2], np.float32)}
    for worker in (0, 1, 2):
        _take(adversaries, worker, honest[FILES[worker]])
    assert _answers(adversaries) == {}
    _take(adversaries, 4, honest[9])
    sent = _answers(adversaries)
    assert sent.keys() == {0, 1, 2, 4}
    # Two colluders hold file 7; it counts once.
    expected = np.array([4 + 1.5 * np.std([1, 3, 8]), 2])
    for vector in sent.values():
        assert np.allclose(vector, expected)
        assert vector.tobytes() == sent[0].tobytes()
    assert _answers(adversaries) == {}


def test_colluders_go_on_without_those_that_never_come():
    adversaries = _adversaries("alie", 1.0, Everyone(), wait=0.0)
    _take(adversaries, 0, np.array([1, 2], np.float32))
    sent = _answers(adversaries)
    assert sent[0].tolist() == [1, 2]


@pytest.mark.parametrize("files", [1, 3])
def test_of_what_a_rank_never_takes_two_steps_messages_are_under_way(files):
    mail, heard = Everyone(), []
    adversaries = _adversaries("alie", 1.0, mail, files=files)
    for step in range(9):
        for worker, file in product((0, 1), range(files)):
            adversaries[1].take(worker, Header(Kind.WORK, step, worker, file), np.zeros(2, np.float32))
        heard += [message.header.step for message in mail.boxes[2]]
        mail.boxes[2].clear()
    assert heard == [step for step in range(9) for _ in range(2 * files)]
    assert [message.header.step for message in mail.boxes[3]] == [0] * 2 * files + [1] * 2 * files


def test_an_attack_without_collusion_answers_at_once_and_tells_nobody():
    mail = Everyone()
    adversaries = _adversaries("reversed", 2.0, mail)
    _take(adversaries, 0, np.array([1, 2], np.float32))
    assert _answers(adversaries)[0].tolist() == [-2, -4]
    assert not any(mail.boxes.values())


def test_gaussian_noise_is_equal_for_all_colluders_of_a_step_and_new_each_step():
    adversaries = _adversaries("gaussian", 1.0, Everyone())
    honest = np.zeros(4, np.float32)
    _take(adversaries, 0, honest)
    _take(adversaries, 4, honest)
    first = _answers(adversaries)
    assert first[0].tobytes() == first[4].tobytes()
    _take(adversaries, 0, honest, step=6)
    assert _answers(adversaries)[0].tobytes() != first[0].tobytes()


def test_nobody_attacks_in_the_self_test():
    adversary = Adversary("nan", 1.0, Placement("worst", 3, 3, 0, ((0, 1, 2),)), [1, 1, 1], 1, None, 1.0, 0)
    assert not adversary.controls(0, PROBE)
    assert adversary.controls(0, 1)


def test_a_flood_of_a_colluder_fills_nobodys_memory_and_takes_no_others_place():
    size = 2500  # 10 KB
    mail, quiet = Everyone(), Everyone()
    flooded = _adversaries("alie", 1.5, mail, size=size)
    others = _adversaries("alie", 1.5, quiet, size=size)
    honest = {worker: np.full(size, worker, np.float32) for worker in FILES}
    tracemalloc.start()
    for step in (5, 6):
        for worker in (0, 1, 2):
            for adversaries in (flooded, others):
                _take(adversaries, worker, honest[worker], step)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(300):
            for header in (
                Header(Kind.COLLUDE, 1000 + number, 4, 9),  # of steps to come
                Header(Kind.COLLUDE, 900 - number, 5, 9),  # descending
                Header(Kind.COLLUDE, step, 5, number),  # more files than it holds
                Header(Kind.COLLUDE, step, 0, number),  # of a worker on another rank
                Header(Kind.COLLUDE, step, 2**32 - 1, 9),
            ):
                mail.of(3).send([1], header, bytes(4 * size))
            mail.of(3).send([1], Header(Kind.COLLUDE, step, 4, 9), bytes(4 * size - 4))  # too short
            mail.of(3).send([1], Header(Kind.COLLUDE, step, 4, 9), bytes(4 * size - 1))
            assert list(flooded[1].answers()) == []
        assert tracemalloc.get_traced_memory()[0] - before < 20 * 4 * size
        for adversaries in (flooded, others):
            _take(adversaries, 4, honest[4], step)
        expected, found = _answers(others), _answers(flooded)
        assert expected.keys() == {0, 1, 2, 4}
        # Rank 2 has not been flooded; rank 1 has heard of rank 3 what that one has told it.
        assert found[2].tobytes() == expected[2].tobytes()
    tracemalloc.stop()


class Clock:
    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


def test_who_was_missing_once_is_not_waited_for_again_until_it_is_heard(monkeypatch):
    clock = Clock(monkeypatch)
    adversaries = _adversaries("ipm", 1.0, Everyone(), wait=10.0)
    for worker in (0, 1, 2):
        _take(adversaries, worker, np.ones(2, np.float32), step=1)
    assert _answers(adversaries) == {}
    clock.now = 11.0
    assert _answers(adversaries).keys() == {0, 1, 2}
    for worker in (0, 1, 2):
        _take(adversaries, worker, np.ones(2, np.float32), step=2)
    assert _answers(adversaries).keys() == {0, 1, 2}
    _take(adversaries, 4, np.ones(2, np.float32), step=2)
    assert _answers(adversaries).keys() == {4}
    for worker in (0, 1, 2):
        _take(adversaries, worker, np.ones(2, np.float32), step=3)
    assert _answers(adversaries) == {}


def test_who_is_gone_holds_nobody_up_where_steps_are_shorter_than_the_wait():
    adversaries = _adversaries("ipm", 1.0, Everyone(), wait=1e9)
    answers = {}
    for step in range(1, 6):  # worker 4 is in quarantine, and the parameter server waits for nobody
        for worker in (0, 1, 2):
            _take(adversaries, worker, np.ones(2, np.float32), step)
        # What one sends, the next one hears.
        answers[step] = _answers(adversaries).keys() | _answers(adversaries).keys()
    assert not answers[1]
    assert answers[4] == answers[5] == {0, 1, 2}


def test_a_worker_with_several_files_is_waited_for_until_it_has_computed_all(monkeypatch):
    clock = Clock(monkeypatch)
    adversaries = _adversaries("ipm", 1.0, Everyone(), wait=10.0, files=2)

    def take(worker, file, step):
        header = Header(Kind.WORK, step, worker, file)
        adversaries[RANKS[worker]].take((worker, file), header, np.full(2, file, np.float32))

    for worker in FILES:
        take(worker, 0, step=1)
    assert _answers(adversaries) == {}
    for worker in FILES:
        take(worker, 1 + worker, step=1)
    sent = _answers(adversaries)
    assert sent.keys() == {(worker, file) for worker in FILES for file in (0, 1 + worker)}
    assert np.allclose(list(sent.values()), -11 / 5)  # the mean of files 0, 1, 2, 3 and 5

    for worker in FILES:  # each lacks a file now: they wait for it once
        take(worker, 0, step=2)
    assert _answers(adversaries) == {}
    clock.now = 11.0
    assert len(_answers(adversaries)) == 4
    for worker in FILES:
        take(worker, 0, step=3)
    assert len(_answers(adversaries)) == 4


def test_colluders_know_only_their_own_files_unless_they_are_omniscient():
    # Worker 3 is honest, and alone with file 5.
    for options, expected in (({}, [-2, -1]), ({"omniscient": True}, [-4, -1])):
        mail = Everyone()
        adversaries = _adversaries("ipm", 1.0, mail, **options)
        for worker in FILES:
            _take(adversaries, worker, np.array([2, 1], np.float32))
        for honest, file in ((3, 5), (5, 5)):
            header = Header(Kind.WORK, 5, honest, file)
            adversaries[RANKS[honest]].overhear(header, np.array([10, 1], np.float32))
        sent = _answers(adversaries)
        assert sent.keys() == FILES.keys()
        assert all(vector.tolist() == expected for vector in sent.values())


def test_omniscient_colluders_wait_for_the_honest_workers_too():
    adversaries = _adversaries("ipm", 1.0, Everyone(), omniscient=True)
    for worker in FILES:
        _take(adversaries, worker, np.ones(2, np.float32))
    adversaries[2].overhear(Header(Kind.WORK, 5, 3, 5), np.ones(2, np.float32))
    assert _answers(adversaries) == {}
    adversaries[3].overhear(Header(Kind.WORK, 5, 5, 5), np.ones(2, np.float32))
    assert _answers(adversaries).keys() == FILES.keys()


def test_nobody_tells_attackers_without_collusion_or_in_the_self_test():
    mail = Everyone()
    adversaries = _adversaries("reversed", 1.0, mail, omniscient=True)
    adversaries[2].overhear(Header(Kind.WORK, 5, 3, 5), np.ones(2, np.float32))
    adversaries = _adversaries("ipm", 1.0, mail, omniscient=True)
    adversaries[2].overhear(Header(Kind.WORK, PROBE, 3, 5), np.ones(2, np.float32))
    assert not any(mail.boxes.values())


HIERARCHY = create_hierarchy("median")
SIX = [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("how", ["random", "fixed", "group"])
@pytest.mark.parametrize("omniscient", [False, True])
@pytest.mark.parametrize("name", ATTACKS)
def test_colluders_of_one_group_send_equal_bits_whatever_the_attack_and_their_ranks(name, omniscient, how):
    # Two groups of three over three ranks, drawn anew each step; three colluders, so that one group is always lost.
    placement = Placement(how, 6, 3, 0, ((0, 2, 4), (1, 3, 5)))
    mail = Everyone()
    defence = Defence(HIERARCHY, f=0, files=2, r=3, d=5)
    scale = {"mimic": 2, "delayed": 2}.get(name, ATTACKS[name].strength(6, 3))
    adversaries = _adversaries(name, scale, mail, placement=placement, omniscient=omniscient, defence=defence)
    rng = np.random.default_rng(4)
    for step in range(1, 7):
        files = dict(enumerate(rng.permutation([0, 0, 0, 1, 1, 1]).tolist()))
        honest = rng.standard_normal((2, 5)).astype(np.float32)
        for worker in rng.permutation(6).tolist():
            header, rank = Header(Kind.WORK, step, worker, files[worker]), adversaries[SIX[worker]]
            if rank.controls(worker, step):
                rank.take(header, header, honest[files[worker]])
            else:
                rank.overhear(header, honest[files[worker]])
        sent = {}
        for _ in range(2):  # what a rank hears last may be what another had to send first
            sent |= {replace(ticket, file=0): vector for ticket, vector in _answers(adversaries).items()}
        by_file = {}
        for header, vector in sent.items():
            assert vector.dtype == np.float32
            by_file.setdefault(files[header.worker], set()).add(vector.tobytes())
        assert len(sent) == 3
        assert all(len(different) == 1 for different in by_file.values())
        if ATTACKS[name].colludes:
            assert len(set.union(*by_file.values())) == 1


@pytest.mark.parametrize("kind", ["reversed", "alie"])
def test_where_they_are_no_majority_cautious_colluders_send_what_is_honest(kind):
    adversaries = _adversaries(kind, 1.0, Everyone(), majority=2)
    honest = {7: np.array([1, 2], np.float32), 8: np.array([3, 2], np.float32), 9: np.array([8, 2], np.float32)}
    for worker in (0, 1, 2):
        _take(adversaries, worker, honest[FILES[worker]])
    assert _answers(adversaries) == {}  # whoever holds a file with whom is not known yet
    _take(adversaries, 4, honest[9])
    sent = _answers(adversaries)
    assert {worker: bool((sent[worker] == honest[FILES[worker]]).all()) for worker in FILES} == {
        0: False, 1: False, 2: True, 4: True,
    }  # fmt: skip
    assert np.array_equal(sent[0], sent[1])


@pytest.mark.parametrize("kind", ["reversed", "alie"])
def test_framing_colluders_lie_where_all_holders_are_theirs_or_framed(kind):
    placement = SimpleNamespace(byzantine=lambda step: frozenset({0, 1, 4}), framed=lambda step: frozenset({2}))
    adversaries = _adversaries(kind, 1.0, Everyone(), placement=placement, framing=True, omniscient=True)
    files = {0: 7, 1: 8, 4: 8, 2: 7, 3: 8, 5: 9}  # 7 is of one of them and the framed one; 8 of an honest one, too
    honest = {7: np.array([1, 2], np.float32), 8: np.array([3, 2], np.float32), 9: np.array([8, 2], np.float32)}
    for worker, file in files.items():
        assert _answers(adversaries) == {}  # whoever holds a file is not known yet
        header = Header(Kind.WORK, 5, worker, file)
        if worker in (0, 1, 4):
            adversaries[RANKS[worker]].take(worker, header, honest[file])
        else:
            adversaries[RANKS[worker]].overhear(header, honest[file])
    sent = _answers(adversaries)
    assert {worker: bool((sent[worker] == honest[files[worker]]).all()) for worker in sent} == {
        0: False,
        1: True,
        4: True,
    }
