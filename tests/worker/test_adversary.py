from collections import deque
from types import SimpleNamespace

import numpy as np

from detox.wire import PROBE, Header, Kind
from detox.worker.adversary import Adversary
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
                self.boxes[peer].append(SimpleNamespace(header=header, payload=bytes(payload)))

        def receive():
            while self.boxes[rank]:
                yield self.boxes[rank].popleft()

        return SimpleNamespace(send=send, receive=receive)


def _adversaries(kind, scale, mail, wait=60.0):
    placement = SimpleNamespace(byzantine=lambda step: frozenset(FILES))
    return {rank: Adversary(kind, scale, placement, RANKS, rank, mail.of(rank), wait, seed=3) for rank in (1, 2, 3)}


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
