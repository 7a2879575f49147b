"""The honest gradients of a rank's files in one step, several in a call where the model can."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from detox.tasks import FlatModel, Task


class Wanted(NamedTuple):
    """A file for a worker.

    Attributes:
        file: its number in the step.
        worker: that computes it; -1: all that hold it, together.
        poisoned: whether from poisoned data.
        indices, seed: see FlatModel.compute.
    """

    file: int
    worker: int
    poisoned: bool
    indices: np.ndarray
    seed: int

    @property
    def key(self) -> tuple[int, int, bool]:
        """What tells it from others of the step."""
        return self[:3]


class Gradients:
    """Computes the files of one step after the other.

    Args:
        model: computes, and says how many files it takes in a call.
        task, poisoned: honest data, and what Byzantine workers have in their place.
        clock: seconds.
    """

    def __init__(self, model: FlatModel, task: Task, poisoned: Task, clock: Callable[[], float]) -> None:
        self._model = model
        self._tasks = task, poisoned
        self._clock = clock
        self._computed: dict[tuple[int, int, bool], tuple[np.ndarray, float]] = {}

    def forget(self) -> None:
        """Drops gradients computed with old weights."""
        self._computed.clear()

    def take(self, wanted: Wanted, coming: Iterable[Wanted]) -> tuple[np.ndarray, float]:
        """(d + b,) float32, and the seconds that it took, of a call its part; none where it was there.

        Args:
            wanted: the file.
            coming: of the same step, may be computed in the same call.
        """
        if wanted.key not in self._computed:
            together = {wanted.key: wanted}
            for other in coming:
                if len(together) == self._model.files_at_once:
                    break
                if other.poisoned == wanted.poisoned and other.key not in self._computed:
                    together.setdefault(other.key, other)
            began = self._clock()
            files = [(one.indices, one.seed) for one in together.values()]
            vectors = self._model.compute_files(self._tasks[wanted.poisoned], files)
            seconds = (self._clock() - began) / len(files)
            self._computed |= {key: (vector, seconds) for key, vector in zip(together, vectors, strict=True)}
        vector, seconds = self._computed.pop(wanted.key)
        if wanted.worker < 0:  # others will ask
            self._computed[wanted.key] = vector, 0.0
        return vector, seconds
