"""Lossless compression of flat float32 vectors by blosc, and its bounded inverse."""

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

    Args:
        size: entries of a vector, d + b.
        codec: blosc's compressor, or "none" for the plain bytes.
        filter: "none", "shuffle" (bytes) or "bitshuffle".
        level: effort, 0 to 9.

    Raises:
        ValueError: a vector that blosc cannot take in one piece (2 GiB).
    """

    size: int
    codec: str = "lz4"
    filter: str = "bitshuffle"
    level: int = 1

    def __post_init__(self) -> None:
        if self.codec != "none" and 4 * self.size > blosc.MAX_BUFFERSIZE:
            raise ValueError(f"compression.codec: blosc takes at most 2 GiB, the gradient has {4 * self.size} bytes")

    @property
    def limit(self) -> int:
        """The most bytes that an encoded vector has."""
        return 4 * self.size + (0 if self.codec == "none" else _OVERHEAD)

    def encode(self, vector: np.ndarray) -> bytes | memoryview:
        """(size,) contiguous float32 -> bytes."""
        plain = vector.data.cast("B")
        if self.codec == "none":
            return plain
        packed: bytes = blosc.compress(
            plain, typesize=4, clevel=self.level, shuffle=_FILTERS[self.filter], cname=self.codec
        )
        return packed

    def decode(self, payload: bytes | memoryview, out: np.ndarray) -> None:
        """Decodes into `out`, (size,) contiguous float32; never writes outside it.

        Raises:
            WireError: the payload is not a vector of this size; `out` may then hold anything.
        """
        if self.codec == "none":
            if len(payload) != out.nbytes:
                raise WireError(f"{len(payload)} bytes, a gradient has {out.nbytes}")
            out.data.cast("B")[:] = payload
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
