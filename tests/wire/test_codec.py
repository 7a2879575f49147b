import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detox.wire import Codec, WireError

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


@settings(max_examples=10_000)
@given(
    st.sampled_from(["lz4", "zstd", "zlib", "blosclz"]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(-8, 0),
)
def test_a_corrupted_buffer_never_writes_outside_the_row(name, changes, cut):
    codec = Codec(300, name)
    payload = bytearray(codec.encode(np.repeat(np.arange(30, dtype=np.float32), 10)))
    for position, value in changes:
        payload[position % len(payload)] = value
    if cut:
        payload = payload[:cut]
    with contextlib.suppress(WireError):
        _decode_with_guard(codec, payload)


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage):
    with pytest.raises(WireError):
        _decode_with_guard(Codec(300), garbage)


def test_a_decompression_bomb_is_refused_before_it_unpacks():
    bomb = Codec(50_000_000).encode(np.zeros(50_000_000, np.float32))
    assert len(bomb) < 2_000_000
    with pytest.raises(WireError, match="200000000"):
        _decode_with_guard(Codec(300), bomb)


def test_a_vector_beyond_two_gigabytes_needs_the_plain_codec():
    with pytest.raises(ValueError, match=r"compression\.codec"):
        Codec(2**29 + 1)
    assert Codec(2**29 + 1, "none").limit == 4 * (2**29 + 1)
