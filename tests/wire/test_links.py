import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.wire.links import HELD, Links
from detox.wire.sockets import Socket

LOOP, ELSEWHERE = 3, 8


class Kernel:
    """Connections to peers, some by several networks; the loop reads all that it is let see."""

    def __init__(self, **homes):
        self.sockets = {name: Socket(LOOP, n, name, home, 0, 0, 1) for n, (name, home) in enumerate(homes.items())}
        self.stopped = set()

    def connections(self, loop=None):
        return [one for one in self.sockets.values() if loop in (None, one.loop)]

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

    def send(self, peer, *through):
        with self.links.sending(peer, 0):
            for name in through:
                self.kernel.pass_over(name, written=100)
        self.links.sent(peer, 0)

    def know(self, peer, name):
        self.send(peer, name)
        self.send(peer, name)

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
    rank.kernel.pass_over("a", read=HELD)
    assert rank.look() == set()
    rank.kernel.pass_over("a", read=1000)
    assert rank.look() == {"a"}
    rank.links.take(1, 500)
    assert rank.look() == {"a"}
    rank.links.take(1, 500)
    assert rank.look() == set()


def test_what_is_taken_of_one_peer_is_nothing_to_another(rank):
    rank.links.take(2, 10 * HELD)
    rank.kernel.pass_over("a", read=2 * HELD)
    rank.kernel.pass_over("b", read=10 * HELD)
    assert rank.look() == {"a"}


def test_it_looks_now_and_then(rank):
    rank.look()
    rank.kernel.pass_over("a", read=2 * HELD)
    rank.links.look()
    assert rank.kernel.stopped == set()
    rank.now += 0.05
    rank.links.look()
    assert rank.kernel.stopped == {"a"}


def test_a_loop_that_began_to_read_by_itself_is_stopped_again(rank):
    rank.kernel.pass_over("a", read=2 * HELD)
    rank.look()
    rank.kernel.stopped.clear()
    assert rank.look() == {"a"}


def test_estimates_that_are_too_high_add_up_to_nothing(rank):
    for _ in range(10_000):
        with rank.links.sending(1, 2**20):
            pass
        rank.links.receiving(1, 2**20)
        rank.kernel.pass_over("a", read=2**20 + 40)
        rank.links.received(1, 2**20)
        rank.links.sent(1, 2**20)
        assert rank.look() == set()
    rank.kernel.pass_over("a", read=HELD)
    assert rank.look() == set()
    rank.kernel.pass_over("a", read=1)
    assert rank.look() == {"a"}


def test_what_is_still_being_received_may_come_at_any_time(rank):
    rank.links.receiving(1, 10 * HELD)
    for _ in range(9):
        rank.kernel.pass_over("a", read=HELD)
        assert rank.look() == set()
    rank.kernel.pass_over("a", read=2 * HELD)
    assert rank.look() == set()
    rank.kernel.pass_over("a", read=HELD)
    assert rank.look() == {"a"}


def test_what_a_socket_brought_before_it_was_known_is_not_held_against_its_peer(rank):
    rank.kernel.sockets["c"] = rank.kernel.sockets["c"]._replace(address="10.1.0.1")
    rank.links.take(1, 9 * HELD)
    rank.kernel.pass_over("c", read=9 * HELD)
    assert rank.look() == set()
    rank.know(1, "c")
    assert rank.look() == set()
    rank.kernel.pass_over("c", read=2 * HELD)
    assert rank.look() == {"a", "c"}


def test_anew_all_are_read_and_what_came_before_is_not_counted(rank):
    rank.kernel.pass_over("a", read=2 * HELD)
    assert rank.look() == {"a"}
    rank.links.begin_anew()
    assert rank.kernel.stopped == set()
    rank.kernel.pass_over("a", read=HELD)
    assert rank.look() == set()
    rank.kernel.pass_over("a", read=1)
    assert rank.look() == {"a"}


def test_anew_what_is_under_way_may_still_come(rank):
    rank.links.receiving(1, 4 * HELD)
    rank.links.begin_anew()
    rank.kernel.pass_over("a", read=4 * HELD)
    assert rank.look() == set()
    rank.links.received(1, 4 * HELD)
    assert rank.look() == set()
    rank.kernel.pass_over("a", read=HELD)
    assert rank.look() == set()
    rank.kernel.pass_over("a", read=1)
    assert rank.look() == {"a"}


def test_a_message_that_could_not_be_sent_is_no_leave_to_send_more(rank):
    for _ in range(10_000):
        with pytest.raises(ZeroDivisionError), rank.links.sending(1, 2**20):
            1 / 0  # noqa: B018
    assert rank.look() == set()
    rank.kernel.pass_over("a", read=HELD + 1)
    assert rank.look() == {"a"}


def test_a_connection_that_is_made_again_may_be_that_of_the_same_peer(rank):
    rank.links.take(1, 9 * HELD)
    rank.kernel.pass_over("a", read=9 * HELD)
    assert rank.look() == set()
    del rank.kernel.sockets["a"]
    assert rank.look() == set()
    rank.kernel.pass_over("c", read=9 * HELD)
    assert rank.look() == set()
    rank.kernel.pass_over("c", read=2 * HELD)
    assert rank.look() == {"c"}


def test_what_came_before_is_not_counted():
    kernel = Kernel(a="10.0.0.1")
    kernel.pass_over("a", read=10 * HELD)
    rank = Rank()
    rank.kernel, rank.links = kernel, Links(kernel, lambda: rank.now)
    rank.know(1, "a")
    assert rank.look() == set()
    rank.kernel.pass_over("a", read=2 * HELD)
    assert rank.look() == {"a"}


@pytest.mark.parametrize(
    "sends", [[(1, "a")], [(1, "a"), (2, "a")], [(1, "a", "b"), (1, "a", "b")], [(1,), (1,)]], ids=str
)
def test_one_message_or_several_at_once_do_not_show_whose_a_socket_is(sends):
    rank = Rank(a="10.0.0.1", b="10.0.0.1")
    rank.know(3, "b")
    for peer, *through in sends:
        rank.send(peer, *through)
    rank.links.take(1, 5 * HELD)
    rank.links.take(2, 5 * HELD)
    rank.kernel.pass_over("a", read=5 * HELD)
    assert rank.look() == set()
    rank.kernel.pass_over("a", read=2 * HELD)
    assert rank.look() == {"a"}


def test_a_peer_of_several_networks_is_counted_over_all_of_them():
    rank = Rank(a="10.0.0.1", b="10.1.0.1")
    for name in "abab":
        rank.send(1, name)
    rank.links.take(1, 2 * HELD)
    rank.kernel.pass_over("a", read=HELD)
    rank.kernel.pass_over("b", read=HELD)
    assert rank.look() == set()
    rank.kernel.pass_over("b", read=2 * HELD)
    assert rank.look() == {"a", "b"}


def test_nobodys_socket_may_be_that_of_a_peer_not_known_at_its_address(rank):
    rank.links.take(1, 9 * HELD)
    rank.links.take(7, 4 * HELD)
    rank.links.take(8, 3 * HELD)
    rank.links.take(9, 9 * HELD, expected=False)
    rank.kernel.pass_over("c", read=5 * HELD)
    assert rank.look() == set()
    rank.kernel.pass_over("c", read=HELD)
    assert rank.look() == {"c"}


def test_a_peer_known_in_one_network_may_have_another_socket_elsewhere():
    rank = Rank(a="10.0.0.1", c="10.1.0.1")
    rank.know(1, "a")
    rank.links.take(1, 9 * HELD)
    rank.kernel.pass_over("c", read=9 * HELD)
    assert rank.look() == set()


def test_sockets_of_another_loop_are_left_alone(rank):
    rank.kernel.sockets["c"] = rank.kernel.sockets["c"]._replace(loop=ELSEWHERE)
    rank.kernel.pass_over("c", read=9 * HELD)
    assert rank.look() == set()


def test_nothing_happens_where_no_socket_is_found_or_known():
    for rank in (Rank(), Rank(a="10.0.0.1")):
        rank.send(1)
        rank.links.take(1, 100)
        if rank.kernel.sockets:
            rank.kernel.pass_over("a", read=9 * HELD)
        assert rank.look() == set()
        rank.links.begin_anew()


EVENTS = st.tuples(st.sampled_from(["honest", "flood", "take", "look"]), st.integers(0, HELD // 4))


@given(st.lists(EVENTS, max_size=60))
def test_who_sends_what_is_taken_is_never_stopped_and_a_flood_is(events):
    rank = Rank(a="10.0.0.1", b="10.0.0.1")
    rank.know(1, "a")
    rank.know(2, "b")
    waiting, flood = 0, 0
    for what, size in [*events, ("look", 0)]:
        if what == "honest" and waiting + size <= HELD:
            waiting += size
            assert rank.kernel.pass_over("a", read=size) == size
        elif what == "flood":
            flood += rank.kernel.pass_over("b", read=size)
        elif what == "take":
            rank.links.take(1, waiting)
            waiting = 0
        else:
            assert rank.look() == ({"b"} if flood > HELD else set())
