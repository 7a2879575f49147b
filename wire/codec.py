"""How flat float32 vectors travel: without loss by blosc, rounded before it, or as signs; with bounded inverses."""

from dataclasses import dataclass

import blosc
import numpy as np

from detox.wire.messages import WireError

_FILTERS = {"none": blosc.NOSHUFFLE, "shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}

_OVERHEAD = 16  # bytes that blosc adds at most to what it cannot compress

blosc.set_nthreads(1)


@dataclass(frozen=True)
class Codec:
    """How vectors of `size` float32 entries travel.

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

    Raises:
        ValueError: a vector that blosc cannot take in one piece (2 GiB).
    """

    size: int
    codec: str = "lz4"
    filter: str = "bitshuffle"
    level: int = 1
    signs: int = 0
    rounded: int = 0

    def __post_init__(self) -> None:
        plain = 4 * (self.size - self.signs)
        if self.codec != "none" and plain > blosc.MAX_BUFFERSIZE:
            raise ValueError(f"compression.codec: blosc takes at most 2 GiB, the gradient has {plain} bytes")

    @property
    def limit(self) -> int:
        """The most bytes that an encoded vector has."""
        rest = self.size - self.signs
        return self._sign_bytes + 4 * rest + (_OVERHEAD if self.codec != "none" and rest else 0)

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
        self.decode(self.encode(vector), arriving)
        return arriving

    def encode(self, vector: np.ndarray) -> bytes | memoryview:
        """(size,) contiguous float32, quantised -> bytes."""
        if not self.signs:
            return self._compress(vector)
        return np.packbits(vector[: self.signs] < 0).tobytes() + self._compress(vector[self.signs :])

    def decode(self, payload: bytes | memoryview, out: np.ndarray) -> None:
        """Decodes into `out`, (size,) contiguous float32; never writes outside it.

        Raises:
            WireError: the payload is not a vector of this size; `out` may then hold anything.
        """
        cut = self._sign_bytes
        if len(payload) < cut:
            raise WireError(f"{len(payload)} bytes, {self.signs} signs alone have {cut}")
        self._decompress(payload[cut:], out[self.signs :])
        if self.signs:
            bits = np.unpackbits(np.frombuffer(payload, np.uint8, cut), count=self.signs)
            np.subtract(1, 2 * bits.view(np.int8), out=out[: self.signs], casting="unsafe")

    @property
    def _sign_bytes(self) -> int:
        return -(-self.signs // 8)

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
