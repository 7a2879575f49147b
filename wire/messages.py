"""The messages of a job: a fixed binary header, then a payload of known size."""

import math
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum, unique

import numpy as np
from blake3 import blake3

from detox.errors import DetoxError

MAGIC = b"DTX2"  # the last byte is the version of the protocol
DIGEST_BYTES = 32
PROBE = 0
"""The step of the self-test, in which nobody attacks; the steps of the training count from 1."""
# magic, kind, chunk, step, worker, file, payload length; the CRC-32 of these behind them
_FIELDS = struct.Struct("<4sHHIIIQ")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = 32
assert _FIELDS.size + _CHECKSUM.size == HEADER_BYTES
LIFE_BYTES = 16
BYE_LIMIT = 900
"""Bytes of a rank's last words: an eager message, which is on its way at once."""
ENDLESS = 2**63 - 1 - HEADER_BYTES
"""Bytes of payload that a message can have of one who is trusted."""


class WireError(DetoxError, ValueError):
    """Bytes that are not the message they should be; the message says why."""


@unique
class Kind(IntEnum):
    """What a message is; also its MPI tag."""

    START = 1
    """PS to worker rank: the config, without secrets, and the rank of each worker (JSON)."""
    READY = 2
    """Worker rank to PS, twice: START has come; data and model are loaded (JSON: what decides the bits here)."""
    WEIGHTS = 3
    """PS to worker rank: the flat float32 weights of a step, once for all workers of the rank."""
    WORK = 4
    """PS to worker: the file to compute the gradient of, and whether to claim it first; see Work."""
    CLAIM = 5
    """Worker to PS: the digest of its gradient."""
    FETCH = 6
    """PS to worker: send the gradient that you claimed."""
    GRADIENT = 7
    """Worker to PS: a chunk of the compressed gradient."""
    QUIT = 8
    """PS to worker rank: the run is over."""
    BYE = 9
    """Worker rank to PS: I leave; in words why, where it is for the user's code."""
    COLLUDE = 10
    """Worker to other ranks of workers, never to the PS: my honest gradient."""
    ECHO = 11
    """PS to worker rank and back, in detox-ps doctor: a Pulse, then the payload that came."""
    EXAMINE = 12
    """PS to worker: how does the gradient that you claimed differ from the vote; see Question in wire/evidence.py."""
    EVIDENCE = 13
    """Worker to PS: the pieces that differ, as far as they were asked for; see Evidence."""
    JOIN = 14
    """Worker rank to PS, first on each connection of TCP: random bytes that stay the same while its process lives."""
    SLICES = 15
    """Server to worker rank: how a step's weights are cut, and digests of its slices; see Slices in wire/relay.py."""
    SLICE = 16
    """Server to worker rank, and from there to the others: a slice of the weights, of which `file` is the number."""
    MISSING = 17
    """Worker rank to PS: the slice of this number did not come (a byte of 0), or was wrong (1). PS to a further server,
    whose slice it is: send it to the rank `worker`."""
    DIAL = 18
    """PS to worker rank, over MPI: go on over TCP, to this address, with this key (JSON)."""
    COMPUTED = 19
    """Worker to PS: the gradient of this file is computed, and what that took; see Computed. For metrics alone."""
    BEGIN = 20
    """PS to a further server: its share of the weights and of the optimizer's state, and what is secret."""
    STEP = 21
    """PS to a further server: send your share of the weights to these ranks; see Routes in wire/relay.py."""
    DELIVERED = 22
    """Further server to PS: what came of a FETCH that was passed on to it; a Verdict, and why in words."""
    UPDATE = 23
    """PS to a further server: aggregate these votes, and make the optimizer's step (JSON)."""
    PART = 24
    """PS to a further server: give me what you are to add to a sum; and the answer, float64."""
    SUM = 25
    """PS to a further server: the parts of all servers, one behind the other."""
    DONE = 26
    """Further server to PS: the BLAKE3 of its share of the weights, as they are now."""
    STATE = 27
    """PS to a further server: what is your share; and the answer."""
    ASKED = 28
    """Further server to PS: the worker has been asked for what a FETCH is about, and has time from now on."""
    BEHIND = 29
    """PS to a further server: which ranks have not taken all that you have sent them; and the answer, int32 each."""
    PEERS = 30
    """Worker rank to PS, over TCP: where it listens for other ranks. PS to worker rank: where those that take part
    listen. See wire/directory.py."""


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed 32 bytes in front of every payload.

    Attributes:
        kind: what the message is.
        step: from 1; PROBE is the self-test.
        worker, file: the edge that it is about; 0 where it is about none.
        chunk: of a vector that comes in several messages, which of its chunks this is, see Codec.
    """

    kind: Kind
    step: int = 0
    worker: int = 0
    file: int = 0
    chunk: int = 0

    def pack(self, length: int) -> bytes:
        """The header's bytes, before a payload of `length` bytes."""
        fields = _FIELDS.pack(MAGIC, self.kind, self.chunk, self.step, self.worker, self.file, length)
        return fields + _CHECKSUM.pack(zlib.crc32(fields))

    def frame(self, payload: bytes | memoryview) -> np.ndarray:
        """The whole message, uint8: a copy, so that the payload may change."""
        frame = np.empty(HEADER_BYTES + len(payload), np.uint8)
        frame[:HEADER_BYTES] = np.frombuffer(self.pack(len(payload)), np.uint8)
        frame[HEADER_BYTES:] = np.frombuffer(payload, np.uint8)
        return frame

    @classmethod
    def unpack(cls, message: bytes | memoryview) -> "Header":
        """The header of a whole message, header and payload.

        Raises:
            WireError: too short, wrong magic or checksum, unknown kind, or a length that is not the payload's.
        """
        header, length = cls.read(message)
        if length != len(message) - HEADER_BYTES:
            raise WireError(f"length {length} in the header, {len(message) - HEADER_BYTES} bytes of payload")
        return header

    @classmethod
    def read(cls, start: bytes | bytearray | memoryview) -> tuple["Header", int]:
        """The header at the start of a message, and the length of the payload that it announces.

        Raises:
            WireError: too short, wrong magic or checksum, or unknown kind.
        """
        if len(start) < HEADER_BYTES:
            raise WireError(f"{len(start)} bytes are no message, the header alone has {HEADER_BYTES}")
        magic, kind, chunk, step, worker, file, length = _FIELDS.unpack_from(start)
        if magic[:-1] != MAGIC[:-1]:
            raise WireError(f"wrong magic {magic!r}")
        if magic != MAGIC:
            raise WireError(f"version {magic[-1:]!r} of the protocol, this is {MAGIC[-1:]!r}")
        if _CHECKSUM.unpack_from(start, _FIELDS.size)[0] != zlib.crc32(start[: _FIELDS.size]):
            raise WireError("wrong header checksum")
        try:
            return cls(Kind(kind), step, worker, file, chunk), length
        except ValueError:
            raise WireError(f"unknown kind {kind}") from None


@dataclass(frozen=True, slots=True)
class Message:
    """What arrived from a rank: a header and its payload, or the fault that made it no message.

    Attributes:
        source: the sender's rank, as the channel knows it.
        header: None where there is a fault.
        payload: a view of the received bytes, valid as long as it is held.
        fault: why this is no message; empty where it is one.
    """

    source: int
    header: Header | None
    payload: memoryview
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """Payload of WORK.

    Attributes:
        weights_digest: BLAKE3 of the step's weights, 32 bytes.
        seed: of the file's augmentation and dropout, the same for all workers of the group.
        claim: whether to send CLAIM and wait for FETCH, or the GRADIENT at once.
        indices: (file size,) int64, training samples of the file.
    """

    weights_digest: bytes
    seed: int
    claim: bool
    indices: np.ndarray

    _FIELDS = struct.Struct("<32sQ?7x")

    @classmethod
    def limit(cls, samples: int) -> int:
        """Bytes of the payload for a file of so many samples."""
        return cls._FIELDS.size + 8 * samples

    def pack(self) -> bytes:
        """The payload's bytes."""
        head = self._FIELDS.pack(self.weights_digest, self.seed, self.claim)
        return head + np.ascontiguousarray(self.indices, dtype="<i8").tobytes()

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> "Work":
        """The inverse of pack."""
        if len(payload) < cls._FIELDS.size or (len(payload) - cls._FIELDS.size) % 8:
            raise WireError(f"{len(payload)} bytes are no WORK")
        weights_digest, seed, claim = cls._FIELDS.unpack_from(payload)
        return cls(weights_digest, seed, claim, np.frombuffer(payload, "<i8", offset=cls._FIELDS.size))


@dataclass(frozen=True, slots=True)
class Computed:
    """Payload of COMPUTED.

    Attributes:
        seconds: that computing took, at least 0.
        since: seconds since the worker's rank began the first file of the step, of any of its workers: at least
            `seconds`, and finite.
    """

    seconds: float
    since: float

    _FIELDS = struct.Struct("<dd")
    BYTES = _FIELDS.size

    def pack(self) -> bytes:
        """The payload's bytes."""
        return self._FIELDS.pack(self.seconds, self.since)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> "Computed":
        """The inverse of pack."""
        seconds, since = cls._FIELDS.unpack(payload) if len(payload) == cls.BYTES else (math.nan, math.nan)
        if not 0 <= seconds <= since < math.inf:
            raise WireError("what are no numbers of seconds as COMPUTED")
        return cls(seconds, since)


@dataclass(frozen=True, slots=True)
class Pulse:
    """How a host is, in front of the payload of an ECHO that comes back.

    Attributes:
        clock: seconds since 1970, by the host's clock.
        memory: bytes of main memory that are available.
    """

    clock: float
    memory: int

    _FIELDS = struct.Struct("<dQ")
    BYTES = _FIELDS.size

    def pack(self) -> bytes:
        """The bytes."""
        return self._FIELDS.pack(self.clock, self.memory)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> "Pulse":
        """The inverse of pack; the bytes behind it are left alone."""
        if len(payload) < cls.BYTES:
            raise WireError(f"{len(payload)} bytes are no ECHO")
        return cls(*cls._FIELDS.unpack_from(payload))


def digest_of(vector: np.ndarray) -> bytes:
    """BLAKE3 of a contiguous vector's bytes, 32 bytes: bits are compared, so -0 is not 0 and NaN is NaN."""
    return blake3(vector.data.cast("B")).digest()


def printable(value: object) -> str:
    """What a rank says of itself goes to terminals and files: plain characters, and not many."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in str(value)[:500])
