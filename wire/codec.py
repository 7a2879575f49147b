"""How flat float32 vectors travel: in chunks, each without loss by blosc, rounded before it, or as signs; with bounded
inverses."""

from dataclasses import dataclass

import blosc
import numpy as np

from detox.wire.messages import WireError

_FILTERS = {"none": blosc.NOSHUFFLE, "shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}

CHUNK = 2**20
"""Entries of a chunk, a multiple of 8; the last one of a vector may have fewer."""
_OVERHEAD = 16  # bytes that blosc adds at most to what it cannot compress

blosc.set_nthreads(1)


@dataclass(frozen=True)
class Codec:
    """How vectors of `size` float32 entries travel: in chunks, a message each, so that no vector is held twice.

    Signs travel as one bit per entry, eight to a byte, the first in the highest bit: 1 for -1, 0 for +1. One bit has no
    room for a third value, so 0, -0 and NaN are +1. What follows them is compressed without loss. Entries rounded to
    bfloat16 stay float32 with 16 zero bits, of which blosc's bitshuffle leaves next to nothing.

    Args:
        size: entries of a vector, d + b.
        codec: blosc's compressor, or "none" for the plain bytes.
        filter: "none", "shuffle" (bytes) or "bitshuffle".
        level: effort, 0 to 9.
        signs: leading entries that travel as signs: d, so that buffers stay as they are, or 0.
        rounded: leading entries that are rounded to bfloat16, to the nearest, ties to even: d, or 0.
    """

    size: int
    codec: str = "lz4"
    filter: str = "bitshuffle"
    level: int = 1
    signs: int = 0
    rounded: int = 0

    @property
    def chunks(self) -> int:
        """Chunks of a vector, at least one."""
        return max(1, -(-self.size // CHUNK))

    @property
    def limit(self) -> int:
        """The most bytes that an encoded chunk has."""
        mixed, last = self.signs // CHUNK, self.chunks - 1
        return max(self._limit(min(chunk, last)) for chunk in (0, mixed, mixed + 1, last))

    def _limit(self, chunk: int) -> int:
        size, signs = self._extent(chunk)
        rest = size - signs
        return -(-signs // 8) + 4 * rest + (_OVERHEAD if self.codec != "none" and rest else 0)

    def _extent(self, chunk: int) -> tuple[int, int]:
        """Entries of a chunk, and how many of them, the first, travel as signs."""
        begin = chunk * CHUNK
        size = min(CHUNK, self.size - begin)
        return size, min(max(0, self.signs - begin), size)

    def quantise(self, vector: np.ndarray) -> np.ndarray:
        """(size,) float32: what arrives of the vector, bit for bit; digests are taken of this."""
        if self.rounded:
            import torch  # here, for commands that only start a job wait for what they import

            arriving = vector.copy()
            arriving[: self.rounded] = torch.from_numpy(vector[: self.rounded]).bfloat16().float()
            return arriving
        if not self.signs:
            return vector
        arriving = np.empty_like(vector)
        for chunk in range(self.chunks):
            self.decode(self.encode(vector, chunk), arriving, chunk)
        return arriving

    def encode(self, vector: np.ndarray, chunk: int = 0) -> bytes | memoryview:
        """One chunk of a vector, (size,) contiguous float32, quantised -> bytes."""
        (size, signs), begin = self._extent(chunk), chunk * CHUNK
        plain = self._compress(vector[begin + signs : begin + size])
        return np.packbits(vector[begin : begin + signs] < 0).tobytes() + plain if signs else plain

    def decode(self, payload: bytes | memoryview, out: np.ndarray, chunk: int = 0) -> None:
        """Decodes a chunk into its place in `out`, (size,) contiguous float32; never writes outside that.

        Raises:
            WireError: the payload is not this chunk of a vector of this size; its place may then hold anything.
        """
        (size, signs), begin = self._extent(chunk), chunk * CHUNK
        cut = -(-signs // 8)
        if len(payload) < cut:
            raise WireError(f"{len(payload)} bytes, {signs} signs alone have {cut}")
        self._decompress(payload[cut:], out[begin + signs : begin + size])
        if signs:
            bits = np.unpackbits(np.frombuffer(payload, np.uint8, cut), count=signs)
            np.subtract(1, 2 * bits.view(np.int8), out=out[begin : begin + signs], casting="unsafe")

    def _compress(self, vector: np.ndarray) -> bytes | memoryview:
        if not vector.size:
            return b""
        plain = vector.data.cast("B")
        if self.codec == "none":
            return plain
        packed: bytes = blosc.compress(
            plain, typesize=4, clevel=self.level, shuffle=_FILTERS[self.filter], cname=self.codec
        )
        return packed

    def _decompress(self, payload: bytes | memoryview, out: np.ndarray) -> None:
        if self.codec == "none" or not out.size:
            if len(payload) != out.nbytes:
                raise WireError(f"{len(payload)} bytes, a gradient has {out.nbytes}")
            out.view(np.uint8)[:] = np.frombuffer(payload, np.uint8)
            return
        if len(payload) < _OVERHEAD:
            raise WireError(f"{len(payload)} bytes are no blosc buffer")
        plain_bytes, packed_bytes, _ = blosc.get_cbuffer_sizes(bytes(payload[:_OVERHEAD]))
        if plain_bytes != out.nbytes or packed_bytes != len(payload):
            raise WireError(
                f"a blosc buffer of {packed_bytes} bytes for {plain_bytes}; expected {len(payload)} for {out.nbytes}"
            )
        try:
            written = blosc.decompress_ptr(payload, out.ctypes.data)
        except blosc.blosc_extension.error as error:
            raise WireError(f"blosc: {error}") from None
        if written != out.nbytes:
            raise WireError(f"blosc wrote {written} bytes, a gradient has {out.nbytes}")


class Chunks:
    """Which chunks of one sender's vector have come, and whether they could be decoded.

    Args:
        codec: how the vector travels.

    Attributes:
        garbled: whether a chunk could not be decoded.
    """

    def __init__(self, codec: Codec) -> None:
        self.garbled = False
        self._codec = codec
        self._missing = set(range(codec.chunks))

    @property
    def whole(self) -> bool:
        """Whether all chunks have come."""
        return not self._missing

    def note(self, chunk: int) -> None:
        """Takes note that a chunk has come.

        Raises:
            WireError: it came before, or there is none of this number.
        """
        if chunk >= self._codec.chunks:
            raise WireError(f"sent chunk {chunk} of its gradient, of which {self._codec.chunks - 1} is the last")
        if chunk not in self._missing:
            raise WireError(f"sent chunk {chunk} of its gradient twice")
        self._missing.remove(chunk)

    def decode(self, chunk: int, payload: bytes | memoryview, out: np.ndarray) -> None:
        """See Codec."""
        try:
            self._codec.decode(payload, out, chunk)
        except WireError:
            self.garbled = True
            raise
