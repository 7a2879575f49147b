"""Where gradients are put together that come chunk by chunk, several at once."""

import numpy as np


class Landing:
    """A row, and the copies of one vector that are on their way to it.

    Each sender's chunks go to a place of its own, the first one's to the row itself: what one sends is no part of
    another's, and nothing is written into the row once another's copy is there.

    Args:
        row: (d + b,) float32.
    """

    def __init__(self, row: np.ndarray) -> None:
        self._row = row
        self._coming: dict[int, np.ndarray] = {}

    def place(self, worker: int, *, beside: bool = False) -> np.ndarray:
        """(d + b,) float32: where a worker's chunks go; not the row if `beside`, or if another's go there."""
        if worker not in self._coming:
            taken = beside or any(place is self._row for place in self._coming.values())
            self._coming[worker] = np.empty_like(self._row) if taken else self._row
        return self._coming[worker]

    def forget(self, worker: int) -> None:
        """Nothing more comes of a worker."""
        self._coming.pop(worker, None)

    def clear(self) -> None:
        """Nothing more comes of anybody."""
        self._coming.clear()

    def write(self, vector: np.ndarray) -> None:
        """The row is this vector from now on; what is on its way there goes elsewhere."""
        if vector is not self._row:
            for worker, place in self._coming.items():
                if place is self._row:
                    self._coming[worker] = place.copy()
            self._row[:] = vector
