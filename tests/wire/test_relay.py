"""Slices of weights at one rank: what is due, what is late, and whom it asks; no messages, and the test's own clock."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.wire import WireError
from detox.wire.relay import Assembly
from detox.wire.slices import FROM_BYTES, FROM_RANKS, Routes, Slices, cut, divide, fewest, longest, pays

PS = 0
RANKS = (1, 2, 3, 4, 5)
WEIGHTS = np.arange(23, dtype=np.float32)
CUT = Slices.of(WEIGHTS, Routes(RANKS), 5)


def content(index):
    return WEIGHTS[cut(WEIGHTS.size, len(RANKS), index)].tobytes()


def assembly(rank=1, now=0.0, **options):
    parts = Assembly(RANKS, rank, [WEIGHTS.size], **options)
    parts.begin(PS, CUT.digests, now)
    return parts


@given(st.integers(0, 200), st.integers(2, 50))
def test_slices_are_all_of_the_weights_in_order_and_none_longer_than_may_come(size, ranks):
    for slices in range(fewest(ranks), ranks + 1):
        entries = [i for index in range(slices) for i in range(*cut(size, slices, index).indices(size))]
        assert entries == list(range(size))
        assert all(4 * len(range(size)[cut(size, slices, i)]) <= longest([size], ranks) for i in range(slices))


@given(st.lists(st.integers(0, 99), min_size=1, max_size=6), st.integers(0, 30), st.data())
def test_of_several_servers_the_longest_slice_is_as_short_as_can_be(widths, more, data):
    ranks = tuple(range(len(widths), 2 * len(widths) + more))
    parts = divide(ranks, widths)
    assert tuple(chain.from_iterable(parts)) == ranks
    assert all(parts)
    length = max(width / len(part) for width, part in zip(widths, parts, strict=True))
    other = data.draw(st.lists(st.integers(1, more + 1), min_size=len(widths), max_size=len(widths)))
    if sum(other) <= len(ranks):
        assert max(width / count for width, count in zip(widths, other, strict=True)) >= length
    for some in range(fewest(len(ranks), len(widths)), len(ranks) + 1):
        for width, part in zip(widths, divide(ranks[:some], widths), strict=True):
            lengths = [len(range(width)[cut(width, len(part), i)]) for i in range(len(part))]
            assert 4 * max(lengths) <= longest(widths, len(ranks))


@given(st.permutations(range(7)))
def test_slices_of_two_servers_make_the_weights_each_from_its_own_server_or_rank(order):
    widths, ranks = (16, 7), (2, 3, 4, 5, 6, 7, 8)
    shares = np.split(WEIGHTS, [16])
    parts = divide(ranks, widths)
    whole = Assembly(ranks, 4, widths)
    for server, (share, some) in enumerate(zip(shares, parts, strict=True)):
        whole.begin(server, Slices.of(share, Routes(ranks), len(some)).digests, 0.0)
    assert (whole.relays, whole.own) == (ranks, 2)
    for index in order:
        server = 0 if index < len(parts[0]) else 1
        place = index - server * len(parts[0])
        content = shares[server][cut(widths[server], len(parts[server]), place)].tobytes()
        assert not whole.take(1 - server, index, content, 1.0)
        assert whole.take(server if index % 2 else ranks[index], index, content, 1.0)
    assert whole.whole
    assert whole.weights.tobytes() == WEIGHTS.tobytes()


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32)), min_size=1, max_size=9))
def test_how_weights_are_cut_arrives_as_it_was_sent(parts):
    ranks, digests = (tuple(some) for some in zip(*parts, strict=True))
    sent = Slices(ranks, digests)
    assert len(sent.pack()) == Slices.limit(len(parts))
    for resting in range(1 + len(parts) // 2):
        sent = Slices(ranks[resting:], digests[resting:], ranks[:resting])
        assert len(sent.pack()) <= Slices.limit(len(parts))
        assert Slices.unpack(sent.pack()) == sent


@given(*[st.lists(st.integers(0, 2**32 - 1), max_size=5).map(tuple) for _ in range(3)])
def test_ways_of_the_weights_arrive_as_they_were_sent(relays, resting, whole):
    sent = Routes(relays, resting, whole)
    assert len(sent.pack()) == Routes.limit(len(relays + resting + whole))
    assert Routes.unpack(sent.pack()) == sent


@pytest.mark.parametrize(
    "content",
    [b"", bytes(7), bytes(9), Routes((1,), (2,)).pack()[:-4], b"\xff" * 4 + bytes(4), Routes((1,)).pack()[:-1]],
)
def test_bytes_that_say_more_ranks_than_there_are_or_are_cut_are_no_ways(content):
    with pytest.raises(WireError, match=f"^{len(content)} bytes are no STEP"):
        Routes.unpack(content)


@pytest.mark.parametrize("size", [0, 1, 35, 37])
def test_bytes_of_another_length_are_no_slices(size):
    with pytest.raises(WireError, match=f"{size} bytes are no SLICES"):
        Slices.unpack(bytes(size))


def test_bytes_that_say_more_ranks_than_there_are_are_no_slices():
    content = CUT.pack()
    for wrong in (content[:-1], content[:24], b"\xff" * 4 + content[4:]):
        with pytest.raises(WireError, match="are no SLICES"):
            Slices.unpack(wrong)


@given(st.permutations(range(5)))
def test_in_whatever_order_slices_come_the_weights_are_equal_to_the_bit(order):
    parts = assembly(rank=3)
    for place, index in enumerate(order):
        assert not parts.whole
        assert parts.take(PS if index == parts.own else RANKS[index], index, content(index), float(place))
    assert parts.whole
    assert parts.weights.tobytes() == WEIGHTS.tobytes()
    assert parts.ask(1e9) == []


@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.integers(0, 9),
            st.integers(0, 4).map(content) | st.binary(max_size=24),
            st.floats(0, 9),
        ),
        max_size=40,
    )
)
def test_what_others_send_makes_no_wrong_weights_and_each_slice_is_asked_for_once(sent):
    parts, asked = assembly(), []
    for source, index, payload, now in sent:
        due = index < 5 and payload == content(index) and source in (PS, RANKS[index])
        assert not parts.take(source, index, payload, now) or due
        asked += [index for index, _ in parts.ask(now)]
    assert len(asked) == len(set(asked))
    asked += [index for index, _ in parts.ask(1e9)]
    for index in range(5):
        parts.take(PS, index, content(index), 1e9)
    assert parts.whole
    assert parts.weights.tobytes() == WEIGHTS.tobytes()


def test_a_slice_is_due_from_its_own_rank_and_from_the_ps_alone():
    parts = assembly()
    assert not parts.take(4, 1, content(1), 0.0)
    assert parts.ask(0.0) == []  # it says nothing of rank 2
    assert parts.take(2, 1, content(1), 0.0)
    assert not parts.take(2, 1, content(1), 0.0)


def test_a_wrong_slice_is_asked_for_at_once():
    parts = assembly()
    assert not parts.take(3, 2, bytes(len(content(2))), 0.0)
    assert not parts.take(4, 3, b"short", 0.0)
    assert parts.ask(0.0) == [(2, True), (3, True)]
    assert parts.ask(0.0) == []
    assert parts.take(PS, 2, content(2), 0.0)


def test_the_slice_of_a_rank_that_is_lost_is_asked_for_at_once():
    assert assembly().ask(0.0, dead={4, 9}) == [(3, False)]


def test_a_rank_that_rests_gets_all_slices_of_the_others_and_passes_none_on():
    assert assembly(rank=2, resting=(6, 7)).audience == (1, 3, 4, 5, 6, 7)
    parts = assembly(rank=7, resting=(6, 7), usual=4.0)
    assert (parts.own, parts.audience) == (None, ())
    for index in (0, 1):
        assert not parts.take(7, index, content(index), 1.0)
        assert parts.take(RANKS[index], index, content(index), 1.0)
    assert parts.ask(16.9) == []
    assert parts.ask(17.1) == [(2, False), (3, False), (4, False)]
    for index in (2, 3, 4):
        assert parts.take(PS, index, content(index), 18.0)
    assert parts.whole
    assert parts.weights.tobytes() == WEIGHTS.tobytes()


def test_late_is_what_has_not_come_two_and_a_half_times_after_half_of_the_slices():
    parts = assembly()
    for index, now in ((0, 1.0), (1, 2.0), (2, 4.0)):
        assert parts.ask(now) == []
        assert parts.take(PS if index == 0 else RANKS[index], index, content(index), now)
    assert parts.ask(10.0) == []
    assert parts.ask(10.1) == [(3, False), (4, False)]


def test_half_that_came_early_by_chance_makes_nothing_late_before_what_is_usual():
    parts = assembly(usual=4.0)
    for index in (0, 1, 2):
        parts.take(PS if index == 0 else RANKS[index], index, content(index), 1.0)
    assert parts.half_took == 1.0
    assert parts.ask(10.0) == []
    assert parts.ask(10.1) == [(3, False), (4, False)]


def test_nothing_is_late_before_its_own_slice_has_come():
    parts = assembly()
    assert parts.ask(1e6) == []
    parts.take(PS, 0, content(0), 1e6)
    assert parts.ask(4e6) == []
    assert [index for index, _ in parts.ask(5.1e6)] == [1, 2, 3, 4]


def test_where_others_are_mute_all_are_late_after_a_while_that_its_own_slice_tells():
    parts = assembly()
    parts.take(PS, 0, content(0), 3.0)
    assert parts.ask(14.9) == []
    assert [index for index, _ in parts.ask(15.1)] == [1, 2, 3, 4]


def test_the_first_weights_have_longer_but_never_longer_than_a_step_allows():
    for first, most, late in ((False, 1e9, 0.1), (True, 1e9, 2.0), (True, 1.0, 1.0)):
        parts = assembly(first=first, most=most)
        for index in (0, 1, 2):
            parts.take(PS, index, content(index), 0.01)
        assert parts.ask(late - 0.01) == [], (first, most)
        assert [index for index, _ in parts.ask(late + 0.01)] == [3, 4], (first, most)


WIDTHS, OF_TWO = (12, 12), tuple(range(2, 10))  # four slices of each of two servers
SHARES = np.arange(24, dtype=np.float32).reshape(2, 12)


def of_two(**options):
    return Assembly(OF_TWO, 2, WIDTHS, **options)


def begin(parts, server, now):
    parts.begin(server, Slices.of(SHARES[server], Routes(OF_TWO), 4).digests, now)


def take(parts, *indices, now):
    """The slices of these numbers, each of its rank, but the first of its server."""
    for index in indices:
        source = OF_TWO[index] if index else PS
        assert parts.take(source, index, SHARES.reshape(8, 3)[index].tobytes(), now)


@given(st.floats(0, 99), st.floats(1, 99))
def test_a_server_that_is_late_and_slow_makes_none_of_its_ranks_late(late, times):
    parts = of_two()
    begin(parts, 0, 0.0)
    take(parts, 0, 1, 2, 3, now=0.08)
    assert parts.ask(late) == []
    begin(parts, 1, late + 0.08)
    for place, index in enumerate((4, 5, 6, 7), 1):  # one by one over its link
        now = late + 0.08 + min(0.08 * times, 1.9) * place
        assert parts.ask(now) == []
        take(parts, index, now=now)
    assert parts.whole


def test_where_half_came_too_early_the_other_server_says_what_is_late():
    parts = of_two()
    begin(parts, 0, 0.0)
    take(parts, 0, 1, 2, 3, now=1.0)
    begin(parts, 1, 1.0)
    take(parts, 4, 5, now=1.0)
    assert parts.half_took == 1.0
    assert parts.ask(3.4) == []
    assert parts.ask(3.6) == [(6, False), (7, False)]


def test_a_minority_that_is_all_but_one_of_a_servers_ranks_makes_that_one_no_later():
    parts = of_two()
    begin(parts, 0, 0.0)
    begin(parts, 1, 0.0)
    take(parts, 0, now=0.5)
    take(parts, 4, 5, 6, now=0.5)  # three of eight, as quick as can be
    take(parts, 1, now=4.0)
    assert parts.ask(9.9) == []
    assert parts.ask(10.1) == [(2, False), (3, False), (7, False)]


def test_slices_of_a_server_that_has_not_told_of_them_are_not_taken_nor_asked_for():
    parts = of_two()
    begin(parts, 0, 0.0)
    take(parts, 0, 1, 2, 3, now=1.0)
    assert not parts.knows(4)
    assert not parts.take(1, 4, SHARES[1][:3].tobytes(), 1.0)
    assert parts.ask(1e6, dead=set(OF_TWO)) == []


def test_slices_pay_from_some_ranks_and_a_mebibyte_on():
    assert pays(FROM_RANKS, FROM_BYTES // 4)
    assert not pays(FROM_RANKS - 1, 10**9)
    assert not pays(1000, FROM_BYTES // 4 - 1)
