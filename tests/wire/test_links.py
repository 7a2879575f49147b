import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.wire.links import HELD, Links
from detox.wire.ob1 import answer, at_once, behind
from detox.wire.sockets import Socket

SHORT, LONG = 900, 4_000_000  # bytes of a message
FULL = HELD // at_once(SHORT)  # short messages that may be held


class Kernel:
    """Connections to peers, some by several networks; the loop reads all that it is let see."""

    def __init__(self, **homes):
        self.sockets = {name: Socket(n, name, home, 0, 0, 1) for n, (name, home) in enumerate(homes.items())}
        self.stopped = set()

    def connections(self, but=()):
        return [one for one in self.sockets.values() if one.name not in but]

    def let_read(self, one, on):
        (self.stopped.discard if on else self.stopped.add)(one.inode)

    def pass_over(self, name, *, read=0, written=0):
        if name in self.stopped:
            read = 0
        one = self.sockets[name]
        self.sockets[name] = one._replace(read=one.read + read, written=one.written + written)
        return read


class Rank:
    """A rank with links to others."""

    def __init__(self, **homes):
        self.now = 0.0
        self.kernel = Kernel(**homes)
        self.links = Links(self.kernel, lambda: self.now)

    def send(self, peer, *through, size=0):
        with self.links.sending(peer, size):
            for name in through:
                self.kernel.pass_over(name, written=100)
        self.links.sent(peer, size)

    def know(self, peer, name):
        self.send(peer, name)
        self.send(peer, name)

    def come(self, name, messages):
        """So many short messages come."""
        return self.kernel.pass_over(name, read=messages * at_once(SHORT))

    def take(self, peer, messages, expected=True):
        """So many short ones are taken."""
        for _ in range(messages):
            self.links.take(peer, SHORT, expected)
            self.links.receiving(peer, SHORT, expected)
            self.links.received(peer, SHORT)

    def begin(self, peer, size=LONG):
        self.links.take(peer, size)
        self.links.receiving(peer, size)

    def look(self):
        self.now += 1.0
        self.links.look()
        return self.kernel.stopped


@pytest.fixture
def rank():
    rank = Rank(a="10.0.0.1", b="10.0.0.1", c="10.0.0.1")
    rank.know(1, "a")
    rank.know(2, "b")
    return rank


def test_a_peer_is_read_until_too_much_is_held_and_again_when_it_was_taken(rank):
    rank.come("a", FULL)
    assert rank.look() == set()
    rank.come("a", 2)
    assert rank.look() == {"a"}
    rank.take(1, 1)
    assert rank.look() == {"a"}
    rank.take(1, 1)
    assert rank.look() == set()


def test_what_is_taken_of_one_peer_is_nothing_to_another(rank):
    rank.take(2, 10 * FULL)
    rank.come("a", 2 * FULL)
    rank.come("b", 10 * FULL)
    assert rank.look() == {"a"}


def test_it_looks_now_and_then_and_more_often_while_one_is_stopped(rank):
    rank.look()
    rank.come("a", 2 * FULL)
    rank.links.look()
    assert rank.kernel.stopped == set()
    rank.now += 0.03
    rank.links.look()
    assert rank.kernel.stopped == {"a"}
    rank.kernel.stopped.clear()
    rank.links.look()
    assert rank.kernel.stopped == set()
    rank.now += 0.003
    rank.links.look()
    assert rank.kernel.stopped == {"a"}


def test_it_looks_less_often_at_more(rank):
    for n in range(3, 45):
        rank.kernel.sockets[str(n)] = Socket(n, str(n), "10.0.0.1", 0, 0, 1)
    rank.look()
    rank.come("a", 2 * FULL)
    rank.now += 0.08
    rank.links.look()
    assert rank.kernel.stopped == set()
    rank.now += 0.02
    rank.links.look()
    assert rank.kernel.stopped == {"a"}


def test_a_loop_that_began_to_read_by_itself_is_stopped_again(rank):
    rank.come("a", 2 * FULL)
    rank.look()
    rank.kernel.stopped.clear()
    assert rank.look() == {"a"}


@pytest.mark.parametrize("size", [0, SHORT, 10**5, LONG], ids=str)
def test_messages_leave_no_room_for_others_beside_them(rank, size):
    for beside in [0] * 3 * FULL + [1] * FULL:
        rank.begin(1, size)
        rank.kernel.pass_over("a", read=at_once(size) + behind(size))
        rank.come("a", beside)
        rank.links.received(1, size)
        rank.send(1, size=size)
        rank.kernel.pass_over("a", read=answer(size))
        assert rank.look() == set()
    rank.come("a", 1)
    assert rank.look() == {"a"}


def test_what_is_still_being_received_may_come_at_any_time(rank):
    rank.begin(1)
    for _ in range(LONG // HELD):
        rank.kernel.pass_over("a", read=HELD)
        assert rank.look() == set()
    rank.come("a", 2 * FULL)
    assert rank.look() == {"a"}


def test_an_answer_that_has_not_come_may_come_at_any_time(rank):
    with rank.links.sending(1, LONG):
        pass
    rank.come("a", FULL)
    assert rank.look() == set()
    rank.kernel.pass_over("a", read=answer(LONG))
    assert rank.look() == set()
    rank.come("a", 1)
    assert rank.look() == {"a"}


def test_what_a_socket_brought_before_it_was_known_is_not_held_against_its_peer(rank):
    rank.kernel.sockets["c"] = rank.kernel.sockets["c"]._replace(address="10.1.0.1")
    rank.take(1, 9 * FULL)
    rank.come("c", 9 * FULL)
    assert rank.look() == set()
    rank.know(1, "c")
    assert rank.look() == set()
    rank.come("c", 2 * FULL)
    assert rank.look() == {"a", "c"}


def test_anew_all_are_read_and_what_came_before_is_not_counted(rank):
    rank.come("a", 2 * FULL)
    assert rank.look() == {"a"}
    rank.links.begin_anew()
    assert rank.kernel.stopped == set()
    rank.come("a", FULL)
    assert rank.look() == set()
    rank.come("a", 1)
    assert rank.look() == {"a"}


def test_anew_what_is_under_way_may_still_come(rank):
    rank.begin(1)
    rank.links.begin_anew()
    rank.kernel.pass_over("a", read=behind(LONG))
    assert rank.look() == set()
    rank.links.received(1, LONG)
    assert rank.look() == set()
    rank.come("a", FULL)
    assert rank.look() == set()
    rank.come("a", 1)
    assert rank.look() == {"a"}


def test_a_message_that_could_not_be_sent_is_no_leave_to_send_more(rank):
    for _ in range(20_000):
        with pytest.raises(ZeroDivisionError), rank.links.sending(1, LONG):
            1 / 0  # noqa: B018
    rank.come("a", FULL + 1)
    assert rank.look() == {"a"}


def test_a_connection_that_is_made_again_may_be_that_of_the_same_peer(rank):
    rank.take(1, 9 * FULL)
    rank.come("a", 9 * FULL)
    assert rank.look() == set()
    del rank.kernel.sockets["a"]
    assert rank.look() == set()
    rank.come("c", 9 * FULL)
    assert rank.look() == set()
    rank.come("c", 2 * FULL)
    assert rank.look() == {"c"}


def test_what_came_before_is_not_counted():
    kernel = Kernel(a="10.0.0.1")
    kernel.pass_over("a", read=10 * HELD)
    rank = Rank()
    rank.kernel, rank.links = kernel, Links(kernel, lambda: rank.now)
    rank.know(1, "a")
    assert rank.look() == set()
    rank.come("a", 2 * FULL)
    assert rank.look() == {"a"}


@pytest.mark.parametrize(
    "sends", [[(1, "a")], [(1, "a"), (2, "a")], [(1, "a", "b"), (1, "a", "b")], [(1,), (1,)]], ids=str
)
def test_one_message_or_several_at_once_do_not_show_whose_a_socket_is(sends):
    rank = Rank(a="10.0.0.1", b="10.0.0.1")
    rank.know(3, "b")
    for peer, *through in sends:
        rank.send(peer, *through)
    rank.take(1, 5 * FULL)
    rank.take(2, 5 * FULL)
    rank.come("a", 5 * FULL)
    assert rank.look() == set()
    rank.come("a", 2 * FULL)
    assert rank.look() == {"a"}


def test_a_peer_of_several_networks_is_counted_over_all_of_them():
    rank = Rank(a="10.0.0.1", b="10.1.0.1")
    for name in "abab":
        rank.send(1, name)
    rank.take(1, 2 * FULL)
    rank.come("a", FULL)
    rank.come("b", FULL)
    assert rank.look() == set()
    rank.come("b", 2 * FULL)
    assert rank.look() == {"a", "b"}


def test_over_several_networks_a_message_may_come_in_more_parts():
    rank = Rank(a="10.0.0.1", b="10.1.0.1", c="10.2.0.1")
    for name in "abcabc":
        rank.send(1, name)
    for _ in range(10 * FULL):
        rank.begin(1)
        rank.kernel.pass_over("a", read=at_once(LONG) + behind(LONG) + 2 * 40)
        rank.links.received(1, LONG)
        assert rank.look() == set()


def test_nobodys_socket_may_be_that_of_a_peer_not_known_at_its_address(rank):
    rank.take(1, 9 * FULL)
    rank.take(7, 4 * FULL)
    rank.take(8, 3 * FULL)
    rank.take(9, 9 * FULL, expected=False)
    rank.come("c", 5 * FULL)
    assert rank.look() == set()
    rank.come("c", FULL)
    assert rank.look() == {"c"}


def test_a_socket_of_nobody_is_stopped_before_anybody_is_known():
    rank = Rank(a="10.0.0.1", b="10.0.0.1")
    rank.come("a", FULL)
    rank.come("b", FULL + 1)
    assert rank.look() == {"b"}
    rank.know(1, "b")
    assert rank.look() == set()


def test_a_peer_known_in_one_network_may_have_another_socket_elsewhere():
    rank = Rank(a="10.0.0.1", c="10.1.0.1")
    rank.know(1, "a")
    rank.take(1, 9 * FULL)
    rank.come("c", 9 * FULL)
    assert rank.look() == set()


def test_nothing_happens_where_there_is_no_socket():
    rank = Rank()
    rank.send(1)
    rank.take(1, 100)
    assert rank.look() == set()
    rank.links.begin_anew()


EVENTS = st.tuples(st.sampled_from(["honest", "flood", "take", "look"]), st.integers(0, FULL // 4))


@given(st.lists(EVENTS, max_size=60))
def test_who_sends_what_is_taken_is_never_stopped_and_a_flood_is(events):
    rank = Rank(a="10.0.0.1", b="10.0.0.1")
    rank.know(1, "a")
    rank.know(2, "b")
    waiting, flood = 0, 0
    for what, messages in [*events, ("look", 0)]:
        if what == "honest" and waiting + messages <= FULL:
            waiting += messages
            assert rank.come("a", messages) == messages * at_once(SHORT)
        elif what == "flood":
            flood += rank.come("b", messages)
        elif what == "take":
            rank.take(1, waiting)
            waiting = 0
        else:
            assert rank.look() == ({"b"} if flood > HELD else set())
