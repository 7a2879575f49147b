"""Tensors of many shapes in one allocation, and as the one vector that travels."""

from collections.abc import Sequence

import torch

# What torch's allocator begins each tensor of its own at, on a GPU. cuDNN's batch norm of channels-last images ends
# with "misaligned address" where the running statistics begin between multiples of 16 bytes: seen with cuDNN 9.19 on an
# H100, and with neither contiguous images nor statistics that alone began at such a multiple.
GPU_ALIGNMENT = 512  # bytes


class Packing:
    """Float32 tensors as views into one allocation; read and written as if they were packed into one vector.

    Args:
        sizes: entries of each tensor, n in all.
        device: where they are.
        alignment: bytes at whose multiples each tensor begins; None: as the device wants it. On a CPU the tensors lie
            one behind the other.
    """

    def __init__(self, sizes: Sequence[int], device: torch.device, alignment: int | None = None) -> None:
        if alignment is None:
            alignment = GPU_ALIGNMENT if device.type == "cuda" else 4
        step = alignment // 4
        self._sizes = list(sizes)
        self._begins, end = [], 0
        for size in sizes:
            self._begins.append(end)
            end += -(-size // step) * step
        self._memory = torch.zeros(end, dtype=torch.float32, device=device)
        self._dense = end == sum(sizes)

    @property
    def parts(self) -> list[torch.Tensor]:
        """The tensors, each as a vector; views."""
        pairs = zip(self._begins, self._sizes, strict=True)
        return [self._memory[begin : begin + size] for begin, size in pairs]

    @property
    def vector(self) -> torch.Tensor:
        """(n,): a view where the tensors lie one behind the other, else a copy."""
        return self._memory if self._dense else torch.cat(self.parts)

    def zero(self) -> None:
        """Makes all tensors 0."""
        self._memory.zero_()

    def write(self, values: torch.Tensor, begin: int = 0) -> None:
        """Sets the entries of the vector from `begin`, where a tensor begins, to the last; from any device."""
        if self._dense:
            self._memory[begin:].copy_(values)
            return
        values = values.to(self._memory.device)
        first = 0
        for part in self.parts:
            if first >= begin:
                part.copy_(values[first - begin : first - begin + len(part)])
            first += len(part)
