from dataclasses import replace
from random import Random

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from detox.wire import WireError, claim_of, digest_of
from detox.wire.evidence import PIECE, Evidence, Question, piece_digests

SIZE = 3 * PIECE + 5  # four pieces, the last of five entries
VOTE = np.arange(SIZE, dtype=np.float32)
DIGESTS = tuple(piece_digests(VOTE))


def _claimed(*places):
    vector = VOTE.copy()
    vector[list(places)] += 1
    return vector


WRONG = _claimed(1, PIECE + 7, 2 * PIECE, SIZE - 1)
CLAIM = claim_of(WRONG)


def _answer(vector, most=9):
    question = Question.unpack(Question(most, DIGESTS).pack())
    return Evidence.unpack(Evidence.answer(vector, question).pack(), SIZE)


def test_a_claim_is_the_digest_of_the_pieces_digests_or_of_a_single_piece_its_own():
    pieces = [WRONG[begin : begin + PIECE] for begin in range(0, SIZE, PIECE)]
    assert blake3(b"".join(blake3(piece.tobytes()).digest() for piece in pieces)).digest() == CLAIM
    assert claim_of(WRONG[:PIECE]) == digest_of(WRONG[:PIECE])
    assert claim_of(np.array([0.0], np.float32)) != claim_of(np.array([-0.0], np.float32))


@given(st.sets(st.integers(0, SIZE - 1), min_size=1, max_size=6), st.integers(1, 5))
def test_what_differs_is_shown_up_to_the_bound_and_checked_against_the_claim(places, most):
    vector = _claimed(*places)
    pieces = sorted({place // PIECE for place in places})[:most]
    evidence = _answer(vector, most)
    checked = evidence.checked(claim_of(vector), Question(most, DIGESTS), SIZE)
    assert [begin for begin, _ in checked] == [i * PIECE for i in pieces]
    assert all(np.array_equal(content, vector[begin : begin + PIECE]) for begin, content in checked)
    shown = np.concatenate([vector[i * PIECE : (i + 1) * PIECE] for i in pieces])
    assert evidence.entries.tobytes() == shown.tobytes()
    assert len(evidence.pack()) <= Evidence.limit(SIZE, most)


def test_a_question_is_as_long_as_its_limit():
    assert len(Question(3, DIGESTS).pack()) == Question.limit(SIZE) == 8 + 4 * 32


def test_another_vector_than_the_claimed_one_is_refused():
    with pytest.raises(WireError, match="not those of what it claimed"):
        _answer(_claimed(1)).checked(CLAIM, Question(9, DIGESTS), SIZE)


def test_true_digests_with_other_entries_are_refused():
    evidence = _answer(WRONG)
    entries = evidence.entries.copy()
    entries[3] = 0
    with pytest.raises(WireError, match="piece 0 that it shows is not that"):
        replace(evidence, entries=entries).checked(CLAIM, Question(9, DIGESTS), SIZE)


@pytest.mark.parametrize("change", [lambda e: e[:-1], lambda e: e[:0], lambda e: np.append(e, np.float32(0))])
def test_more_or_less_than_was_asked_for_is_refused(change):
    evidence = _answer(WRONG)
    with pytest.raises(WireError, match="entries of 4 pieces"):
        replace(evidence, entries=change(evidence.entries)).checked(CLAIM, Question(9, DIGESTS), SIZE)


def test_no_bytes_but_the_true_ones_pass():
    random, payload = Random(0), Evidence.answer(WRONG, Question(2, DIGESTS)).pack()
    for _ in range(300):
        wrong = bytearray(payload)
        kind = random.randrange(3)
        if kind == 0:
            wrong[random.randrange(len(wrong))] ^= random.randrange(1, 256)
        elif kind == 1:
            del wrong[random.randrange(len(wrong)) :]
        else:
            wrong = bytearray(random.randbytes(random.randrange(400)))
        with pytest.raises(WireError):
            Evidence.unpack(bytes(wrong), SIZE).checked(CLAIM, Question(2, DIGESTS), SIZE)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_question_are_refused_or_are_one(content):
    try:
        question = Question.unpack(content)
    except WireError:
        assert len(content) < 8 or len(content) % 32 != 8
    else:
        assert question.pack() == content
