"""How the gradient of a file is computed: in pieces, and in which precision; equal for PS and workers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


FILES = 16
"""Files of a batched call, always: a shorter one is filled up, for kernels, and so bits, go by a call's shape."""


@dataclass(frozen=True)
class Computing:
    """How the loss of a file is computed.

    Args:
        micro_batch_size: samples of a file in a forward and backward pass, at most; the gradients are summed in the
            order of the file, each weighted by its samples. None: all at once.
        autocast: whether the forward pass computes in bfloat16 what torch.autocast does.
        batched: whether several files are computed in one call, see tasks.batched; then a file is not cut into pieces.
    """

    micro_batch_size: int | None = None
    autocast: bool = False
    batched: bool = False

    def pieces(self, indices: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
        """The samples of each pass, (size,) int64, and their part of the file; a single one has part 1."""
        size = self.micro_batch_size or len(indices)
        for begin in range(0, len(indices), size):
            piece = indices[begin : begin + size].copy()  # what arrives in a message is read-only: torch warns of that
            yield piece, len(piece) / len(indices)

    def forward(self, device: "torch.device") -> AbstractContextManager[object]:
        """Around a forward pass."""
        import torch  # here, for the config has one of these, and commands that only start a job do not wait for torch

        return torch.autocast(device.type, torch.bfloat16) if self.autocast else nullcontext()
