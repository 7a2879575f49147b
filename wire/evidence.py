"""What a claim is made of, so that a part of a vector can be checked against it; and the messages that show parts."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from detox.wire.messages import DIGEST_BYTES, WireError

PIECE = 2**16
"""Entries of a piece; the last one of a vector may have fewer."""


def pieces_of(size: int) -> int:
    """Pieces of a vector of so many entries."""
    return -(-size // PIECE)


def piece_digests(vector: np.ndarray) -> list[bytes]:
    """BLAKE3 of each piece of a contiguous float32 vector: bits are compared, so -0 is not 0 and NaN is NaN."""
    return [blake3(piece(vector, index).data.cast("B")).digest() for index in range(pieces_of(vector.size))]


def piece(vector: np.ndarray, index: int) -> np.ndarray:
    """A view of one piece."""
    return vector[index * PIECE : (index + 1) * PIECE]


def entries_of(pieces: Sequence[int], size: int) -> int:
    """Entries of these pieces of a vector of so many."""
    return sum(min(PIECE, size - index * PIECE) for index in pieces)


def claim_on(digests: Sequence[bytes]) -> bytes:
    """What claims a vector whose pieces have these digests, at least one: BLAKE3 of them; of a single one, itself."""
    return digests[0] if len(digests) == 1 else blake3(b"".join(digests)).digest()


def claim_of(vector: np.ndarray) -> bytes:
    """What claims a contiguous float32 vector, 32 bytes."""
    return claim_on(piece_digests(vector))


@dataclass(frozen=True, slots=True)
class Question:
    """Payload of EXAMINE: how does what you claimed differ from this?

    Attributes:
        most: pieces to send, at most.
        digests: of the pieces of the other vector.
    """

    most: int
    digests: tuple[bytes, ...]

    _FIELDS = struct.Struct("<Q")

    @classmethod
    def limit(cls, size: int) -> int:
        """Bytes of the payload for vectors of so many entries."""
        return cls._FIELDS.size + DIGEST_BYTES * pieces_of(size)

    def pack(self) -> bytes:
        """The payload's bytes."""
        return self._FIELDS.pack(self.most) + b"".join(self.digests)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> "Question":
        """The inverse of pack."""
        if len(payload) < cls._FIELDS.size or (len(payload) - cls._FIELDS.size) % DIGEST_BYTES:
            raise WireError(f"{len(payload)} bytes are no EXAMINE")
        (most,) = cls._FIELDS.unpack_from(payload)
        return cls(most, _digests(payload[cls._FIELDS.size :]))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Payload of EVIDENCE: the digests of all pieces of a claimed vector, then the first pieces that differ.

    Attributes:
        digests: of its pieces; they make the claim.
        entries: float32 of the first pieces that differ, one after the other.
    """

    digests: tuple[bytes, ...]
    entries: np.ndarray

    @classmethod
    def limit(cls, size: int, most: int) -> int:
        """Bytes of the payload for vectors of so many entries, with so many pieces."""
        return DIGEST_BYTES * pieces_of(size) + 4 * min(size, most * PIECE)

    @classmethod
    def answer(cls, vector: np.ndarray, question: Question) -> "Evidence":
        """How a claimed vector, (size,) float32, differs from the one that the question is about."""
        digests = tuple(piece_digests(vector))
        shown = differing(digests, question.digests)[: question.most]
        return cls(digests, np.concatenate([vector[:0], *(piece(vector, index) for index in shown)]))

    def pack(self) -> bytes:
        """The payload's bytes."""
        return b"".join(self.digests) + self.entries.tobytes()

    @classmethod
    def unpack(cls, payload: bytes | memoryview, size: int) -> "Evidence":
        """The inverse of pack, for vectors of so many entries."""
        cut = DIGEST_BYTES * pieces_of(size)
        if len(payload) < cut or (len(payload) - cut) % 4:
            raise WireError(f"{len(payload)} bytes are no EVIDENCE")
        return cls(_digests(payload[:cut]), np.frombuffer(payload, "<f4", offset=cut))

    def checked(self, claim: bytes, question: Question, size: int) -> list[tuple[int, np.ndarray]]:
        """The pieces that it shows, the first that differ from the vector that the question was about.

        Args:
            claim: what was claimed.
            question: which it answers.
            size: entries of a vector.

        Returns:
            where each piece begins, and its entries, float32.

        Raises:
            WireError: this is not what was claimed, or not what had to be shown of it.
        """
        if claim_on(self.digests) != claim:
            raise WireError("the digests that it shows are not those of what it claimed")
        shown = differing(self.digests, question.digests)[: question.most]
        if self.entries.size != entries_of(shown, size):
            raise WireError(f"it shows {self.entries.size} entries of {len(shown)} pieces")
        entries = [piece(self.entries, place) for place in range(len(shown))]
        for index, content in zip(shown, entries, strict=True):
            if blake3(content.data.cast("B")).digest() != self.digests[index]:
                raise WireError(f"piece {index} that it shows is not that of what it claimed")
        return [(index * PIECE, content) for index, content in zip(shown, entries, strict=True)]


def differing(one: Sequence[bytes], other: Sequence[bytes]) -> list[int]:
    """Pieces whose digests differ."""
    return [index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]


def _digests(content: bytes | memoryview) -> tuple[bytes, ...]:
    whole = bytes(content)
    return tuple(whole[begin : begin + DIGEST_BYTES] for begin in range(0, len(whole), DIGEST_BYTES))
