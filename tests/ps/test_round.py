import itertools
from functools import partial

import numpy as np
import pytest

from detox.assignment import Assignment
from detox.ps.ballots import DigestBallot, FullBallot, Outcome, ToleranceBallot
from detox.ps.events import Event, EventKind, Trait, kinds
from detox.ps.inbox import Inbox
from detox.ps.ledger import Ledger
from detox.ps.promises import Promises
from detox.ps.round import Round
from detox.ps.stopwatch import Stopwatch
from detox.wire import Codec, Header, Kind, Message, digest_of
from detox.wire import codec as codec_module
from detox.wire.memory import Network

SIZE = 20
HONEST = [np.arange(SIZE, dtype=np.float32) + 100 * file for file in range(2)]
LIE = np.full(SIZE, -5, np.float32)
GROUPS = ((0, 2, 4), (1, 3, 5))
FILE_OF = {0: 0, 2: 0, 4: 0, 1: 1, 3: 1, 5: 1}
CODEC = Codec(SIZE)


class Play:
    """A round with its ledger, and the messages of workers in short."""

    def __init__(self, path, create_ballot=DigestBallot, holders=GROUPS):
        self.ledger = Ledger(path / "ledger.jsonl", ranks=[1] * 6, hosts={1: "here"})
        self.rows = np.full((len(holders), SIZE), np.nan, np.float32)
        self.promises = Promises(self.ledger, seconds=10)
        self.round = Round(
            7, Assignment(holders), create_ballot=create_ballot, rows=self.rows, codec=CODEC, promises=self.promises,
            clock=Stopwatch(lambda: 0.0),
        )  # fmt: skip

    def take(self, kind, worker, file, payload, now=0.0):
        for event in self.round.take(Header(kind, 7, worker, file), memoryview(payload), now):
            self.ledger.record(event)

    def claim(self, worker, vector=None, file=None):
        file = FILE_OF[worker] if file is None else file
        vector = HONEST[file % 2] if vector is None else vector
        self.take(Kind.CLAIM, worker, file, digest_of(vector))

    def send(self, worker, vector=None, file=None, payload=None, now=0.0):
        file = FILE_OF[worker] if file is None else file
        vector = HONEST[file % 2] if vector is None else vector
        self.take(Kind.GRADIENT, worker, file, CODEC.encode(vector) if payload is None else payload, now)

    def part(self, worker, chunk, vector=None, payload=None, now=0.0):
        """A chunk of a worker's gradient."""
        file = FILE_OF[worker]
        payload = CODEC.encode(HONEST[file] if vector is None else vector, chunk) if payload is None else payload
        for event in self.round.take(Header(Kind.GRADIENT, 7, worker, file, chunk), memoryview(payload), now):
            self.ledger.record(event)

    def votes(self):
        votes, events = self.round.end()
        for event in events:
            self.ledger.record(event)
        return votes

    def close(self):
        for event in self.round.close():
            self.ledger.record(event)
        return self.round.ballots.outcomes

    def break_promises(self, worker, times):
        for _ in range(times):
            self.ledger.record(Event(EventKind.WITHHELD, 1, worker))

    def noted(self, kind):
        return [w for w, counts in enumerate(self.ledger.counts) for _ in range(counts[kind])]

    def offences(self):
        return [(event.kind, event.worker) for event in self.round.events if event.kind in kinds(Trait.OFFENCE)]


@pytest.fixture
def make(tmp_path):
    plays = []

    def _make(*arguments):
        plays.append(Play(tmp_path, *arguments))
        return plays[-1]

    yield _make
    for play in plays:
        play.ledger.close()


@pytest.fixture
def play(make):
    return make()


@pytest.fixture
def direct(make):
    return make(FullBallot)


@pytest.fixture
def chunked(monkeypatch):
    """Vectors of 20 entries go in three chunks."""
    monkeypatch.setattr(codec_module, "CHUNK", 8)


def test_two_of_three_are_enough_and_one_copy_travels(play):
    play.claim(0)
    assert play.round.ask(0) == []
    play.claim(4)
    assert play.round.ask(0) == [(0, 0)]
    assert play.round.ask(1) == []
    play.send(0)
    play.claim(1, LIE)
    play.claim(3)
    play.claim(5)
    assert play.round.ask(1) == [(3, 1)]
    assert not play.round.ballots.finished()
    play.send(3)
    assert play.round.ballots.finished()
    assert np.array_equal(play.votes(), np.stack(HONEST))
    assert play.close() == [Outcome.MAJORITY, Outcome.MAJORITY]
    assert play.noted("dissented") == [1]
    assert play.noted("silent") == [2]
    assert play.noted("agreed") == [0, 3, 4, 5]


def test_a_claim_after_the_step_still_counts_for_the_ledger(play):
    for worker in (0, 2, 1, 3):
        play.claim(worker)
    for worker, _ in play.round.ask(0):
        play.send(worker)
    assert play.round.ballots.unheard == {4, 5}
    assert len(play.votes()) == 2
    play.claim(4)
    play.claim(5, LIE)
    assert not play.round.ballots.unheard
    assert play.close() == [Outcome.UNANIMOUS, Outcome.MAJORITY]
    assert play.noted("dissented") == [5]


def test_a_payload_that_is_not_its_claim_is_a_lie_and_the_next_is_asked(play):
    for worker in (2, 0, 4):
        play.claim(worker)
    assert play.round.ask(0) == [(0, 0)]
    play.send(0, LIE)
    assert play.round.ask(0) == [(2, 0)]
    play.send(0, HONEST[0])  # too late: it has lied
    assert not play.round.ballots[0].settled
    play.send(2)
    assert play.round.ballots[0].settled
    assert play.noted("lied") == [0]


@pytest.mark.parametrize("payload", [b"", b"garbage", bytes(4 * SIZE), CODEC.encode(HONEST[0])[:-1]])
def test_a_payload_that_cannot_be_decoded_is_noted_and_the_next_is_asked(play, payload):
    play.claim(2)
    play.claim(0)
    play.round.ask(0)
    play.send(0, payload=payload)
    assert play.noted("malformed") == [0]
    assert play.round.ask(0) == [(2, 0)]
    play.send(2)
    play.votes()
    assert play.noted("withheld") == [0]  # a promise is broken by what cannot be decoded, too


def test_a_withheld_payload_is_asked_of_the_next_after_the_fetch_deadline(play):
    play.claim(2)
    play.claim(0)
    assert play.round.ask(0) == [(0, 0)]
    assert play.round.ask(9) == []
    assert play.round.ask(11) == [(2, 0)]
    play.send(2)
    assert len(play.votes()) == 1
    assert play.noted("withheld") == [0]


def test_what_can_befall_the_honest_is_no_offence(play):
    play.claim(0)
    play.claim(2)
    play.claim(2, LIE[:-1], file=1)
    play.round.ask(0)
    play.claim(1, LIE)
    play.claim(3)
    play.votes()
    play.send(0)
    play.close()
    happened = {kind for counts in play.ledger.counts for kind in counts}
    assert happened == {"agreed", "malformed", "withheld", "late", "undecided", "silent"}
    assert play.offences() == []


def test_who_was_asked_beside_another_and_is_not_needed_is_not_late(play):
    for worker in (0, 2, 4):
        play.claim(worker)
    asked = [play.round.ask(now) for now in (0, 100)]
    assert asked == [[(0, 0)], [(2, 0)]]
    play.send(0)
    play.votes()
    play.send(2)
    assert play.noted("late") == []


def test_a_gradient_that_comes_after_its_fetch_deadline_still_counts(play):
    for worker in (0, 2, 4):
        play.claim(worker)
    for now in (0, 100, 200):
        play.round.ask(now)
    assert play.round.ask(1000) == []
    assert not play.round.ballots.finished(gone={1, 3, 5})
    play.send(2)
    assert play.round.ballots[0].settled
    assert len(play.votes()) == 1
    assert play.noted("withheld") == [0, 4]


def test_who_has_broken_promises_has_ever_less_time_and_a_group_of_such_is_given_up(play):
    for worker in (0, 2, 4):
        play.break_promises(worker, 2)
        play.claim(worker)
    assert play.round.ask(0) == [(0, 0)]
    assert play.round.ask(2) == []
    assert play.round.ask(3) == [(2, 0)]
    assert play.round.ask(6) == [(4, 0)]
    assert not play.round.ballots[0].failed
    assert play.round.ask(9) == []
    assert play.round.ballots[0].failed
    play.send(2)
    assert play.round.ballots[0].settled
    assert not play.round.ballots[0].failed
    assert np.array_equal(play.votes(), HONEST[0][None])


def test_a_group_of_withholders_is_not_kept_waiting_for_one_that_is_absent(play):
    for worker in (0, 2):
        play.break_promises(worker, 1)
        play.claim(worker)
    for now in (0, 6, 12):
        play.round.ask(now)
    assert not play.round.ballots[0].failed
    assert play.round.ask(12, stragglers={4}) == []
    assert play.round.ballots[0].failed


def test_a_worker_that_dies_after_its_claim_is_replaced_at_once(play):
    play.claim(2)
    play.claim(0)
    play.round.ask(0)
    assert play.round.ask(1, gone={0}) == [(2, 0)]


def test_where_the_whole_majority_lies_the_group_has_no_vote(play):
    for worker in (0, 2, 4):
        play.claim(worker)
    for expected in (0, 2, 4):
        assert play.round.ask(0) == [(expected, 0)]
        play.send(expected, LIE)
    assert play.round.ask(0) == []
    for worker in (1, 3):
        play.claim(worker)
    play.send(play.round.ask(0)[0][0])
    assert play.round.ballots.finished()
    assert np.array_equal(play.votes(), HONEST[1][None])
    assert play.close()[0] == Outcome.NONE
    assert play.noted("lied") == [0, 2, 4]


def test_without_a_majority_the_group_is_dropped_and_nobody_is_blamed(play):
    play.claim(0)
    play.claim(2, LIE)
    play.claim(4, LIE + 1)
    play.claim(1)
    play.claim(5)
    play.send(play.round.ask(0)[0][0])
    assert play.round.ballots.finished()
    assert np.array_equal(play.votes(), HONEST[1][None])
    assert play.close() == [Outcome.NONE, Outcome.MAJORITY]
    assert play.noted("undecided") == [0, 2, 4]
    assert play.noted("dissented") == []


def test_the_dead_are_not_waited_for(play):
    play.claim(0)
    play.claim(1)
    play.claim(3)
    play.send(play.round.ask(0)[0][0])
    assert not play.round.ballots.finished(gone={2})
    assert play.round.ballots.finished(gone={2, 4})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vote_that_is_not_finite_is_dropped_and_its_supporters_named(play, bad):
    vector = HONEST[0].copy()
    vector[3] = bad
    play.claim(0, vector)
    play.claim(2, vector)
    play.round.ask(0)
    play.send(0, vector)
    assert play.round.ballots[0].failed
    assert play.noted("nonfinite") == [0, 2]


def test_claims_twice_and_for_another_file_are_malformed(play):
    play.claim(0)
    play.claim(0)
    play.claim(0, LIE)
    play.claim(0, LIE + 1)
    play.claim(2, file=1)
    assert play.noted("malformed") == [0, 0, 2]
    assert play.noted("equivocated") == [0]
    assert play.offences() == [("equivocated", 0)]
    assert play.round.ballots[0].tally.claims.keys() == {0}


def test_a_gradient_that_nobody_asked_for_never_touches_a_row(play):
    play.claim(0)
    play.claim(2)
    play.round.ask(0)
    play.send(2, LIE)
    assert np.isnan(play.rows).all()
    assert play.noted("malformed") == [2]


def test_every_full_copy_is_waited_for_and_compared_bit_by_bit(direct):
    direct.send(0, LIE)
    direct.send(2)
    assert not direct.round.ballots[0].settled
    direct.send(4)
    assert np.array_equal(direct.rows[0], HONEST[0])
    for worker in (1, 3):
        direct.send(worker)
    assert [ballot.settled for ballot in direct.round.ballots] == [True, True]
    assert not direct.round.ballots.finished()
    direct.send(5, LIE)
    assert direct.round.ballots.finished()
    assert np.array_equal(direct.votes(), np.stack(HONEST))
    assert direct.close() == [Outcome.MAJORITY, Outcome.MAJORITY]
    assert direct.noted("dissented") == [0, 5]


def test_minus_zero_is_not_zero_in_a_full_copy(direct):
    zero = np.zeros(SIZE, np.float32)
    direct.send(0, zero)
    direct.send(2, -zero)
    direct.send(4, -zero)
    assert direct.round.ballots[0].tally.supporters == [2, 4]
    assert np.signbit(direct.rows[0]).all()


def test_a_full_copy_that_cannot_be_decoded_is_malformed_and_leaves_the_vote_whole(direct):
    direct.send(0, payload=b"garbage")
    direct.send(2)
    direct.send(4)
    direct.send(4)
    assert direct.round.ballots[0].settled
    assert np.array_equal(direct.rows[0], HONEST[0])
    assert direct.noted("malformed") == [0, 4]


def test_where_a_whole_group_sends_garbage_there_is_no_vote(direct):
    for worker in (0, 2, 4):
        direct.send(worker, payload=b"garbage")
    for worker in (1, 3, 5):
        direct.send(worker)
    assert direct.round.ballots.finished()
    assert np.array_equal(direct.votes(), HONEST[1][None])
    assert direct.close() == [Outcome.NONE, Outcome.UNANIMOUS]
    assert direct.noted("agreed") == [1, 3, 5]


@pytest.fixture
def tolerant(make):
    return make(partial(ToleranceBallot, tolerance=1e-3, d=SIZE))


def test_under_a_tolerance_nearly_equal_copies_agree_and_the_vote_is_one_of_them(tolerant):
    near = HONEST[0] * np.float32(1.0001)
    tolerant.send(0, near)
    assert not tolerant.round.ballots[0].settled
    tolerant.send(2, LIE)
    tolerant.send(4)
    assert tolerant.round.ballots[0].settled
    for worker in (1, 3):
        tolerant.send(worker, payload=b"garbage")
    tolerant.send(5)
    assert tolerant.round.ballots.finished()
    assert np.array_equal(tolerant.votes(), near[None])
    assert tolerant.close() == [Outcome.MAJORITY, Outcome.NONE]
    assert tolerant.noted("agreed") == [0, 4]
    assert tolerant.noted("dissented") == [2]
    assert tolerant.noted("undecided") == [1, 3, 5]


def test_under_a_tolerance_nan_is_never_a_vote(tolerant):
    for worker in (0, 2, 4):
        tolerant.send(worker, HONEST[0] * np.nan)
    for worker in (1, 3, 5):
        tolerant.send(worker)
    assert np.array_equal(tolerant.votes(), HONEST[1][None])
    assert tolerant.noted("nonfinite") == []


def test_who_is_asked_first_does_not_depend_on_who_claims_first(make):
    asked = set()
    for order in itertools.permutations((0, 2, 4)):
        play = make()
        for worker in order:
            play.claim(worker)
        asked.add(tuple(play.round.ask(0)))
    assert asked == {((0, 0),)}


def test_who_delivered_slowly_is_asked_after_the_others(play):
    play.promises.delivered(0, 5.0)
    play.promises.delivered(2, 0.1)
    for worker in (0, 2):
        play.claim(worker)
    assert play.round.ask(0) == [(2, 0)]


def test_who_delivers_a_little_later_than_another_is_asked_as_before(play):
    play.promises.delivered(0, 0.04)
    play.promises.delivered(2, 0.001)
    for worker in (2, 0):
        play.claim(worker)
    assert play.round.ask(0) == [(0, 0)]


def test_the_pace_of_a_delivery_is_taken_from_the_question_to_the_answer(play):
    for worker in (0, 2):
        play.claim(worker)
    assert play.round.ask(3.0) == [(0, 0)]
    play.send(0, now=3.5)
    assert play.promises.order(0) == (0, 0.5)


def test_a_worker_with_several_files_has_a_vote_on_each(make):
    play = make(DigestBallot, ((0, 1, 2), (0, 1, 2)))
    for file in (0, 1):
        for worker in (0, 1, 2):
            play.claim(worker, LIE if (worker, file) == (2, 1) else None, file)
    assert play.round.ask(0) == [(0, 0), (0, 1)]
    play.send(0, file=0)
    play.send(0, LIE, file=1)
    assert play.round.ask(0) == [(1, 1)]
    play.send(1, file=1)
    assert np.array_equal(play.votes(), np.stack(HONEST))
    assert play.close() == [Outcome.UNANIMOUS, Outcome.MAJORITY]
    assert play.noted("agreed") == [0, 0, 1, 1, 2]
    assert play.noted("dissented") == [2]
    assert play.noted("lied") == [0]


@pytest.mark.usefixtures("chunked")
def test_a_gradient_counts_once_all_of_its_chunks_are_here_in_any_order(play):
    for worker in (0, 2):
        play.claim(worker)
    play.round.ask(0)
    for chunk in (2, 0):
        play.part(0, chunk)
        assert not play.round.ballots[0].settled
    play.part(0, 1)
    assert play.round.ballots[0].settled
    assert np.array_equal(play.votes(), HONEST[0][None])
    assert play.noted("malformed") == play.noted("withheld") == []


@pytest.mark.usefixtures("chunked")
def test_who_stops_in_the_middle_is_replaced_and_writes_into_no_row_after(play):
    for worker in (0, 2, 4):
        play.claim(worker)
    assert play.round.ask(0) == [(0, 0)]
    play.part(0, 0, LIE)
    assert play.round.ask(11) == [(2, 0)]
    play.part(2, 0)
    play.part(0, 1, LIE)  # between the other's chunks
    play.part(2, 1)
    assert not play.round.ballots[0].settled
    play.part(2, 2)
    assert play.round.ballots[0].settled
    play.part(0, 2, LIE)
    assert np.array_equal(play.rows[0], HONEST[0])
    assert np.array_equal(play.votes(), HONEST[0][None])
    play.close()
    assert play.offences() == []  # the whole of it was never here


@pytest.mark.usefixtures("chunked")
def test_of_those_that_send_at_once_the_first_right_one_is_the_vote(play):
    for worker in (0, 2, 4):
        play.claim(worker)
    for now in (0, 11, 22):
        play.round.ask(now)
    for chunk in range(3):
        for worker, vector in ((0, LIE), (2, HONEST[0]), (4, HONEST[0])):
            play.part(worker, chunk, vector)
    assert play.noted("lied") == [0]
    assert np.array_equal(play.votes(), HONEST[0][None])
    assert play.noted("malformed") == play.noted("withheld") == play.noted("late") == []


@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize(
    ("chunk", "why"),
    [
        (0, "sent chunk 0 of its gradient twice"),
        (3, "sent chunk 3 of its gradient, of which 2 is the last"),
        (2**16 - 1, "sent chunk 65535 of its gradient, of which 2 is the last"),
    ],
)
def test_a_chunk_that_came_before_or_that_there_is_none_of_is_malformed(play, chunk, why):
    play.claim(0)
    play.claim(2)
    play.round.ask(0)
    play.part(0, 0)
    play.part(0, chunk, payload=CODEC.encode(LIE, 0))
    assert play.noted("malformed") == [0]
    assert play.round.events[-1].detail == why
    play.part(0, 1)
    play.part(0, 2)
    assert np.array_equal(play.votes(), HONEST[0][None])


@pytest.mark.usefixtures("chunked")
def test_a_chunk_that_cannot_be_decoded_is_noted_once_and_the_next_is_asked_at_once(play):
    play.claim(0)
    play.claim(2)
    play.round.ask(0)
    play.part(0, 0)
    play.part(0, 1, payload=b"garbage")
    assert play.round.ask(0) == [(2, 0)]
    play.part(0, 2)
    for chunk in range(3):
        play.part(2, chunk)
    assert np.array_equal(play.votes(), HONEST[0][None])
    assert play.noted("malformed") == play.noted("withheld") == [0]


@pytest.mark.usefixtures("chunked")
def test_a_gradient_of_which_the_rest_comes_after_the_step_is_late_once(play):
    play.claim(0)
    play.claim(2)
    play.round.ask(0)
    play.part(0, 0)
    assert len(play.votes()) == 0
    assert play.noted("withheld") == [0]
    play.part(0, 1)
    assert play.noted("late") == []
    play.part(0, 2)
    assert play.noted("late") == [0]


def heard(play, worker, messages):
    """Whether a worker is heard with each of these messages, kind, chunk and payload."""
    told, found = [], []
    inbox = Inbox(Network().session(0, [1]), [1] * 6, told.extend, None, None)
    inbox.open(play.round)
    for kind, chunk, payload in messages:
        inbox.take(Message(1, Header(kind, 7, worker, FILE_OF[worker], chunk), memoryview(payload)))
        found.append(EventKind.HEARD in [event.kind for event in told])
        told.clear()
    return found


@pytest.mark.usefixtures("chunked")
def test_a_worker_is_heard_once_all_of_its_answer_is_here(play, direct):
    chunks = [(Kind.GRADIENT, chunk, CODEC.encode(HONEST[0], chunk)) for chunk in (2, 0, 1)]
    assert heard(direct, 0, [*chunks, chunks[0]]) == [False, False, True, False]
    assert heard(direct, 2, [(Kind.GRADIENT, 2, b"garbage"), *chunks[1:]]) == [False, False, False]
    assert heard(play, 0, [(Kind.CLAIM, 0, digest_of(HONEST[0]))]) == [True]


@pytest.mark.usefixtures("chunked")
def test_full_copies_that_come_at_once_are_compared_as_if_they_came_in_turn(direct):
    direct.part(0, 0, LIE)  # the first; it goes on when the vote is there
    for chunk in range(3):
        direct.part(2, chunk)
        direct.part(4, chunk)
    assert np.array_equal(direct.rows[0], HONEST[0])
    direct.part(0, 1, LIE)
    direct.part(0, 2, LIE)
    for chunk in range(3):
        for worker, vector in ((1, LIE), (3, HONEST[1]), (5, HONEST[1])):
            direct.part(worker, chunk, vector)
    assert np.array_equal(direct.votes(), np.stack(HONEST))
    assert direct.close() == [Outcome.MAJORITY, Outcome.MAJORITY]
    assert direct.noted("dissented") == [0, 1]


@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize("create_ballot", [DigestBallot, FullBallot])
def test_what_the_ps_has_computed_stays_whatever_is_still_on_its_way(make, create_ballot):
    play = make(create_ballot)
    if create_ballot is DigestBallot:
        play.claim(0, LIE)
        play.claim(2, LIE)
        play.round.ask(0)
    play.part(0, 0, LIE)
    play.round.decide(0, HONEST[0])
    play.part(0, 1, LIE)
    play.part(0, 2, LIE)
    assert np.array_equal(play.rows[0], HONEST[0])
    play.close()
    assert 0 in play.noted("convicted")
