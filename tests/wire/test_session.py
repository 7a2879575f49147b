import pytest

from detox.wire import Header, Kind, Session
from detox.wire.memory import Network


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def session(network):
    session = network.session(0, [1, 2])
    session.expect({Kind.CLAIM: 32, Kind.GRADIENT: 100}, asked=[Kind.GRADIENT])
    return session


@pytest.fixture
def peer(network):
    return network.channel(1, [0], lambda message: None)


def _take(session):
    return [(message.header and message.header.kind, message.fault) for message in session.receive()]


def test_what_is_not_expected_or_too_long_is_a_fault(session, peer):
    peer.send([0], Header(Kind.CLAIM), bytes(32))
    peer.send([0], Header(Kind.CLAIM), bytes(33))
    peer.send([0], Header(Kind.READY))
    (claim, long, unexpected) = _take(session)
    assert claim == (Kind.CLAIM, "")
    assert "nothing so long is expected" in long[1]
    assert "nothing so long is expected" in unexpected[1]


def test_one_answer_is_admitted_for_each_question(session, peer):
    question = Header(Kind.FETCH, 3, 1, 0)
    answer = Header(Kind.GRADIENT, 3, 1, 0)
    peer.send([0], answer)
    assert "not asked for" in _take(session)[0][1]
    session.ask(1, question, Kind.GRADIENT)
    for _ in range(2):
        peer.send([0], answer)
    assert [fault != "" for _, fault in _take(session)] == [False, True]


def test_an_answer_of_several_messages_is_admitted_and_a_few_come_at_a_time(session, peer):
    answers = [Header(Kind.GRADIENT, 3, 1, 0, chunk) for chunk in range(5)]
    session.ask(1, Header(Kind.FETCH, 3, 1, 0), Kind.GRADIENT, messages=5)
    credit = []
    for answer in answers:
        credit.append(session.channel.credit[Kind.GRADIENT][1])
        peer.send([0], answer)
        assert _take(session) == [(Kind.GRADIENT, "")]
    assert credit == [2, 2, 2, 2, 1]
    peer.send([0], answers[0])
    assert "not asked for" in _take(session)[0][1]


def test_an_answer_of_which_some_has_come_is_forgotten_too(session, peer):
    session.ask(1, Header(Kind.FETCH, 3, 1, 0), Kind.GRADIENT, messages=3)
    peer.send([0], Header(Kind.GRADIENT, 3, 1, 0, 2))
    _take(session)
    session.forget(3)
    peer.send([0], Header(Kind.GRADIENT, 3, 1, 0, 1))
    assert "not asked for" in _take(session)[0][1]


def test_an_answer_to_another_question_does_not_use_up_the_credit_for_this_one(session, peer):
    session.ask(1, Header(Kind.FETCH, 3, 1, 0), Kind.GRADIENT)
    peer.send([0], Header(Kind.GRADIENT, 3, 2, 0))
    peer.send([0], Header(Kind.GRADIENT, 3, 1, 0))
    assert [fault for _, fault in _take(session)] == ["", ""]


def test_what_is_forgotten_is_not_admitted_any_more(session, peer):
    for step in (3, 4):
        session.ask(1, Header(Kind.FETCH, step, 1, 0), Kind.GRADIENT)
    session.forget(3)
    for step in (4, 3):
        peer.send([0], Header(Kind.GRADIENT, step, 1, 0))
    assert [fault != "" for _, fault in _take(session)] == [False, True]


def test_to_expect_the_same_again_forgets_no_question(session, peer):
    session.ask(1, Header(Kind.FETCH, 3, 1, 0), Kind.GRADIENT)
    session.expect({Kind.CLAIM: 32, Kind.GRADIENT: 100}, asked=[Kind.GRADIENT])
    peer.send([0], Header(Kind.GRADIENT, 3, 1, 0))
    assert _take(session) == [(Kind.GRADIENT, "")]


def test_waiting_ends_when_it_is_so_at_the_deadline_or_after_a_silence(network, session, peer):
    came = []
    network.later(1, lambda: peer.send([0], Header(Kind.CLAIM)))
    assert session.wait(lambda: bool(came), came.append, deadline=5)
    assert network.now == pytest.approx(1, abs=0.02)
    assert not session.wait(lambda: False, came.append, deadline=3)
    assert network.now == pytest.approx(3, abs=0.02)
    assert not session.wait(lambda: False, came.append, silence=4)
    assert network.now == pytest.approx(7, abs=0.02)


def test_what_there_was_to_do_ends_a_silence(network, session, peer):
    work = [900.0, 900.0]

    def compute():
        if not work:
            return False
        network.now += work.pop()
        return True

    assert not session.wait(lambda: False, lambda _: None, silence=600, then=compute)
    assert network.now == pytest.approx(2 * 900 + 600, abs=0.1)


def test_what_others_send_does_not_end_the_silence_of_a_peer_that_is_gone(network, session):
    times = [10.0 * n for n in range(1, 100)]

    def hears():
        return network.now >= times[0] and times.pop(0) > 0

    assert not session.wait(lambda: False, lambda _: None, silence=60, deadline=900, then=hears)
    assert network.now == pytest.approx(60, abs=0.1)


def test_a_flood_does_not_move_the_deadline(network, session, peer):
    def flood():
        peer.send([0], Header(Kind.CLAIM))
        network.now += 0.1
        return True

    assert not session.wait(lambda: False, lambda message: None, deadline=2, then=flood)
    assert network.now < 2.3


class Counted(Network):
    def __init__(self):
        super().__init__()
        self.sleeps = []

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        super().sleep(seconds)


def test_the_longer_nothing_comes_the_longer_it_sleeps_and_is_back_at_once():
    network = Counted()
    session = network.session(0, [1])
    session.expect({Kind.CLAIM: 0})
    peer = network.channel(1, [0], lambda message: None)
    network.later(1, lambda: peer.send([0], Header(Kind.CLAIM)))
    session.wait(lambda: False, lambda message: None, deadline=1.1)
    before = [s for s, at in zip(network.sleeps, _ends(network.sleeps), strict=True) if at < 1]
    assert before == sorted(before)
    assert (before[0], before[-1]) == (0.0005, 0.01)
    assert len(before) < 250  # 2,000 at the shortest
    assert network.sleeps[len(before) + 1] == 0.0005


def _ends(sleeps):
    total, ends = 0.0, []
    for seconds in sleeps:
        total += seconds
        ends.append(total)
    return ends


def test_while_a_message_is_under_way_it_sleeps_as_short_as_it_can():
    network = Counted()
    channel = network.channel(0, [1])
    busy = type("Busy", (), {"busy": True, "__getattr__": lambda self, name: getattr(channel, name)})()
    session = Session(busy, 0.001, network.clock, network.sleep)
    session.wait(lambda: False, lambda message: None, deadline=0.5)
    assert set(network.sleeps) == {0.001}
