import struct
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detox.wire import Header, Kind, WireError, Work, digest_of
from detox.wire.messages import HEADER_BYTES

HEADERS = st.builds(
    Header,
    st.sampled_from(Kind),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**16 - 1),
)


@given(HEADERS, st.binary(max_size=64))
def test_a_header_survives_the_wire(header, payload):
    assert Header.unpack(header.pack(len(payload)) + payload) == header


def test_no_two_kinds_have_one_number():
    assert [kind.name for kind in Kind] == list(Kind.__members__)


@given(HEADERS, st.binary(max_size=8), st.integers(0, HEADER_BYTES - 1), st.integers(1, 255))
def test_any_changed_byte_of_the_header_is_noticed(header, payload, position, change):
    message = bytearray(header.pack(len(payload)) + payload)
    message[position] ^= change
    with pytest.raises(WireError):
        Header.unpack(message)


@given(HEADERS, st.binary(max_size=8), st.binary(min_size=1, max_size=8))
def test_a_payload_of_another_length_is_noticed(header, payload, more):
    with pytest.raises(WireError, match="length"):
        Header.unpack(header.pack(len(payload)) + payload + more)


@given(st.binary(max_size=96))
@example(b"")
@example(b"DTX2" + bytes(28))
def test_garbage_is_an_error_and_never_an_exception_of_another_kind(garbage):
    with pytest.raises(WireError):
        Header.unpack(garbage)


@pytest.mark.parametrize("magic", [b"", b"DTX2"])
def test_ten_thousand_pieces_of_garbage_are_errors_too(magic):
    # The property above, drawn without hypothesis, which takes far longer than what it tests.
    random = Random(0)
    for _ in range(10_000):
        with pytest.raises(WireError):
            Header.unpack(magic + random.randbytes(random.randint(0, 96)))


def test_an_unknown_kind_is_an_error():
    import zlib

    fields = struct.pack("<4sIIIIQ", b"DTX2", 99, 0, 0, 0, 0)
    with pytest.raises(WireError, match="unknown kind 99"):
        Header.unpack(fields + struct.pack("<I", zlib.crc32(fields)))


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1), st.booleans(), st.lists(st.integers(0, 2**62)))
def test_work_survives_the_wire(digest, seed, claim, indices):
    work = Work(digest, seed, claim, np.array(indices, np.int64))
    back = Work.unpack(work.pack())
    assert (back.weights_digest, back.seed, back.claim) == (digest, seed, claim)
    assert back.indices.tolist() == indices


@pytest.mark.parametrize("size", [0, 47, 49, 55])
def test_a_work_of_a_wrong_length_is_an_error(size):
    with pytest.raises(WireError, match="no WORK"):
        Work.unpack(bytes(size))


def test_digests_compare_bits_and_not_floats():
    assert digest_of(np.array([0.0], np.float32)) != digest_of(np.array([-0.0], np.float32))
    nan = np.array([np.nan], np.float32)
    assert digest_of(nan) == digest_of(nan.copy())
