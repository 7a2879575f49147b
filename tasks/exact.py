"""Buffers whose bits travel: integer and boolean ones, and those with infinities, behind the floats of a vector."""

import numpy as np
import torch

_ALIGNED = 8  # bytes, for a view of any dtype


class ExactBuffers:
    """Buffers that are views into one array of bytes, which travels as numbers from -2^15 to 2^15 - 1.

    A float32 holds each of these 16-bit words exactly, whatever the integers are that they are part of.

    Args:
        buffers: dense, on one device; they become views.

    Attributes:
        words: float32 entries that they take in a vector.
    """

    def __init__(self, buffers: list[torch.Tensor], device: torch.device) -> None:
        ordered = sorted(buffers, key=lambda buffer: str(buffer.dtype))  # each dtype is one run of bytes
        self._runs: list[tuple[np.dtype, int, int]] = []
        end, places = 0, []
        for buffer in ordered:
            begin, end = end, end + -(-buffer.numel() * buffer.element_size() // _ALIGNED) * _ALIGNED
            places.append(begin)
            dtype = torch.empty(0, dtype=buffer.dtype).numpy().dtype
            if self._runs and self._runs[-1][0] == dtype:
                self._runs[-1] = (dtype, self._runs[-1][1], end)
            else:
                self._runs.append((dtype, begin, end))
        self._bytes = torch.zeros(end, dtype=torch.uint8, device=device)
        self._words = self._bytes.view(torch.int16)
        self.words = len(self._words)
        for buffer, begin in zip(ordered, places, strict=True):
            stretch = self._bytes[begin : begin + buffer.numel() * buffer.element_size()]
            view = stretch.view(buffer.dtype).view(buffer.shape)
            view.copy_(buffer.detach())
            buffer.data = view

    def read(self, out: torch.Tensor) -> None:
        """Writes the buffers' words into `out`, (words,) float32."""
        out.copy_(self._words)

    def write(self, words: torch.Tensor) -> None:
        """Sets the buffers from (words,) float32."""
        self._words.copy_(words)

    def median(self, votes: np.ndarray) -> np.ndarray:
        """(m, words) float32 -> (words,): of each value, not word, the lower median, NaN being above all.

        Where all honest votes are equal and more than half, it is theirs; else it lies between two of theirs.
        """
        if (votes == votes[0]).all():
            first: np.ndarray = votes[0]
            return first
        words = np.clip(votes, -(2**15), 2**15 - 1).astype(np.int16)
        agreed = np.empty_like(words[0])
        for dtype, begin, end in self._runs:
            values = np.ascontiguousarray(words[:, begin // 2 : end // 2])
            values = values.view(np.uint8) != 0 if dtype.kind == "b" else values.view(dtype)
            middle = np.sort(values, axis=0)[(len(values) - 1) // 2]
            agreed[begin // 2 : end // 2] = middle.view(np.int16)
        found: np.ndarray = agreed.astype(np.float32)
        return found
