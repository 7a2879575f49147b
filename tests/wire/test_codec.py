import contextlib
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detox.wire import Chunks, Codec, WireError
from detox.wire import codec as module

CODECS = st.builds(
    Codec,
    st.just(300),
    st.sampled_from(["none", "blosclz", "lz4", "lz4hc", "zlib", "zstd"]),
    st.sampled_from(["none", "shuffle", "bitshuffle"]),
    st.integers(0, 9),
)
GUARD = np.float32(7)


def _decode_with_guard(codec, payload):
    """Decodes into the middle of a larger array and checks that nothing beside it was touched."""
    room = np.full(codec.size + 20, GUARD)
    try:
        codec.decode(payload, room[10:-10])
    finally:
        assert (room[:10] == GUARD).all()
        assert (room[-10:] == GUARD).all()
    return room[10:-10]


@given(CODECS, arrays(np.uint32, 300))
def test_every_bit_survives_every_codec(codec, bits):
    vector = bits.view(np.float32)
    payload = codec.encode(vector)
    assert len(payload) <= codec.limit
    assert (_decode_with_guard(codec, payload).view(np.uint32) == bits).all()


@given(CODECS, st.integers(0, 400))
def test_a_vector_of_another_size_is_refused(codec, size):
    if size == codec.size:
        return
    payload = Codec(size, codec.codec, codec.filter, codec.level).encode(np.ones(size, np.float32))
    with pytest.raises(WireError):
        _decode_with_guard(codec, payload)


def _decode_corrupted(codec, payload, changes, cut):
    payload = bytearray(payload)
    for position, value in changes:
        payload[position % len(payload)] = value
    if cut:
        payload = payload[:cut]
    with contextlib.suppress(WireError):
        _decode_with_guard(codec, payload)


STEPS_OF_TEN = np.repeat(np.arange(30, dtype=np.float32), 10)


@given(
    st.sampled_from(["lz4", "zstd", "zlib", "blosclz"]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(-8, 0),
)
def test_a_corrupted_buffer_never_writes_outside_the_row(name, changes, cut):
    codec = Codec(300, name)
    _decode_corrupted(codec, codec.encode(STEPS_OF_TEN), changes, cut)


@pytest.mark.parametrize("name", ["lz4", "zstd", "zlib", "blosclz"])
def test_ten_thousand_corruptions_never_write_outside_the_row(name):
    # The property above, drawn without hypothesis, which takes far longer than what it tests.
    random, codec = Random(name), Codec(300, name)
    payload = bytes(codec.encode(STEPS_OF_TEN))
    for _ in range(10_000):
        changes = [(random.randrange(10_001), random.randrange(256)) for _ in range(random.randint(1, 6))]
        _decode_corrupted(codec, payload, changes, random.choice((0, random.randint(-8, 0))))


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage):
    with pytest.raises(WireError):
        _decode_with_guard(Codec(300), garbage)


def test_a_decompression_bomb_is_refused_before_it_unpacks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2**26)
    bomb = Codec(50_000_000).encode(np.zeros(50_000_000, np.float32))
    assert len(bomb) < 2_000_000
    with pytest.raises(WireError, match="200000000"):
        _decode_with_guard(Codec(300), bomb)


SIGNS = st.builds(
    lambda signs, rest, codec: Codec(signs + rest, codec, signs=signs),
    st.integers(1, 40),
    st.integers(0, 20),
    st.sampled_from(["none", "lz4", "zstd"]),
)


@given(SIGNS, st.data())
def test_signs_arrive_as_one_and_minus_one_and_what_follows_them_as_it_was(codec, data):
    bits = data.draw(arrays(np.uint32, codec.size))
    vector = bits.view(np.float32)
    payload = codec.encode(vector)
    assert len(payload) <= codec.limit
    arrived = _decode_with_guard(codec, payload)
    expected = [-1.0 if float(entry) < 0 else 1.0 for entry in vector[: codec.signs]]
    assert arrived[: codec.signs].tolist() == expected
    assert (arrived[codec.signs :].view(np.uint32) == bits[codec.signs :]).all()
    assert (codec.quantise(vector).view(np.uint32) == arrived.view(np.uint32)).all()
    assert codec.encode(arrived) == payload


def test_zero_either_sign_of_it_and_nan_are_plus_one_for_a_bit_has_no_third_value():
    vector = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-45, -1e-45, -3], np.float32)
    codec = Codec(9, "none", signs=9)
    assert codec.quantise(vector).tolist() == [1, 1, 1, 1, 1, -1, 1, -1, -1]
    assert bytes(codec.encode(vector)) == bytes([0b00000101, 0b10000000])


@given(SIGNS, st.integers(-30, 30))
def test_signs_of_another_length_are_refused(codec, change):
    payload = bytes(codec.encode(np.ones(codec.size, np.float32)))
    wrong = payload[:change] if change < 0 else payload + bytes(change)
    if len(wrong) != len(payload):
        with pytest.raises(WireError, match="bytes"):
            _decode_with_guard(codec, wrong)


def test_a_sign_is_a_thirty_second_of_a_float_and_the_limit_is_exact():
    vector = np.random.default_rng(0).standard_normal(6400, np.float32)
    plain, signs = Codec(6400, "none"), Codec(6400, "none", signs=6400)
    assert len(plain.encode(vector)) == plain.limit == 25_600
    assert len(signs.encode(vector)) == signs.limit == 800


@given(st.integers(1, 300), arrays(np.uint32, 300))
def test_a_rounded_entry_is_the_nearest_bfloat16_and_what_follows_is_as_it_was(rounded, bits):
    codec, vector = Codec(300, rounded=rounded), bits.view(np.float32)
    arrived = _decode_with_guard(codec, codec.encode(codec.quantise(vector)))
    assert (arrived[rounded:].view(np.uint32) == bits[rounded:]).all()
    assert (codec.quantise(arrived).view(np.uint32) == arrived.view(np.uint32)).all()
    for entry, got in zip(vector[:rounded].tolist(), arrived[:rounded], strict=True):
        assert not got.view(np.uint32) & 0xFFFF
        if np.isnan(entry):
            assert np.isnan(got)
            continue
        # Its neighbours in bfloat16: one step of the upper half of the bits up and down.
        upper = int(got.view(np.uint32)) >> 16
        for other in (upper - 1, upper + 1):
            near = np.uint32((other & 0xFFFF) << 16).view(np.float32)
            if np.isfinite(near) and np.isfinite(got):
                assert abs(float(got) - entry) <= abs(float(near) - entry)


def test_rounded_entries_take_less_than_half_of_the_bytes():
    vector = np.random.default_rng(0).standard_normal(100_000, np.float32)
    codec = Codec(100_000, rounded=100_000)
    assert len(codec.encode(codec.quantise(vector))) < 0.45 * 4 * 100_000


@pytest.mark.parametrize("codec", [Codec(300), Codec(300, "none")])
def test_without_signs_what_arrives_is_the_vector(codec):
    vector = np.ones(300, np.float32)
    assert codec.quantise(vector) is vector


def test_a_vector_of_any_length_is_no_longer_than_a_chunk_in_a_message():
    assert (Codec(2**30 + 1).chunks, Codec(2**30 + 1).limit) == (1025, 4 * 2**20 + 16)
    assert Codec(2**30, "none").chunks == 1024
    assert Codec(0).chunks == 1


CHUNKED = st.builds(
    lambda signs, rest, codec: Codec(signs + rest, codec, signs=signs),
    st.integers(0, 50),
    st.integers(0, 50),
    st.sampled_from(["none", "lz4"]),
)


@given(CHUNKED, st.randoms(use_true_random=False))
def test_chunks_that_come_in_any_order_make_the_vector_that_comes_whole(codec, random):
    vector = np.random.default_rng(codec.size).standard_normal(codec.size, np.float32)
    expected = codec.quantise(vector)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", 16)
        assert codec.chunks == max(1, -(-codec.size // 16))
        payloads = [bytes(codec.encode(vector, chunk)) for chunk in range(codec.chunks)]
        assert max(map(len, payloads)) <= codec.limit
        arrived, chunks = np.full(codec.size, GUARD), Chunks(codec)
        for chunk in random.sample(range(codec.chunks), codec.chunks):
            assert not chunks.whole
            chunks.note(chunk)
            chunks.decode(chunk, payloads[chunk], arrived)
        assert chunks.whole
        for chunk, why in ((0, "twice"), (codec.chunks, f"of which {codec.chunks - 1} is the last")):
            with pytest.raises(WireError, match=f"sent chunk {chunk} of its gradient.* {why}"):
                chunks.note(chunk)
        assert (arrived.view(np.uint32) == expected.view(np.uint32)).all()
        assert (codec.quantise(vector).view(np.uint32) == expected.view(np.uint32)).all()


@pytest.mark.parametrize("name", ["none", "lz4"])
def test_a_chunk_is_written_to_its_own_place_and_a_wrong_one_is_noted(monkeypatch, name):
    monkeypatch.setattr(module, "CHUNK", 16)
    codec, arrived = Codec(40, name), np.full(40, GUARD)
    chunks, payload = Chunks(codec), bytes(codec.encode(np.arange(40, dtype=np.float32), 1))
    chunks.decode(1, payload, arrived)
    assert arrived.tolist() == [7] * 16 + list(range(16, 32)) + [7] * 8
    assert not chunks.garbled
    with pytest.raises(WireError):
        chunks.decode(2, payload, arrived)  # the last one has 8 entries
    assert chunks.garbled
    assert (arrived[:16] == GUARD).all()
