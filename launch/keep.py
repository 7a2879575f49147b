"""The weights that a run leaves: the newest with each checkpoint, and those of its best evaluation."""

from typing import Any, Protocol

from torch import Tensor

from detox.launch.scores import Scores
from detox.ps.best import Best
from detox.ps.folder import RunFolder


class Named(Protocol):
    """A model whose weights are to be kept."""

    def named(self) -> dict[str, Tensor]:
        """Copies of its tensors by name."""


class Keeper:
    """Writes model.* and best.* into a run's folder, both as new as its checkpoint, so that a resumed run has the same.

    Args:
        folder: of the run.
        model: whose weights they are.
        best: tells the best evaluation.
    """

    def __init__(self, folder: RunFolder, model: Named, best: Best) -> None:
        self._folder = folder
        self._model = model
        self.best = best
        self._newest: tuple[int, Scores] = (-1, {})
        self._unwritten: tuple[dict[str, Any], dict[str, Tensor]] | None = None  # of the best

    def evaluated(self, step: int, scores: Scores) -> bool:
        """Takes note of an evaluation of the model as it is now; whether it is the first of this step."""
        self._newest, first = (step, scores), step > self.best.last
        if self.best.take(step, scores):
            self._unwritten = self._facts(step), self._model.named()
        return first

    def scores(self, step: int) -> Scores | None:
        """Of that step, if it was the last to be evaluated."""
        return self._newest[1] if self._newest[0] == step else None

    def save(self, step: int) -> None:
        """Writes the weights after `step`, and the best that are not written yet; raises OSError if it cannot."""
        self._folder.save_weights("model", self._model.named(), self._facts(step))
        if self._unwritten is not None:
            facts, tensors = self._unwritten
            self._folder.save_weights("best", tensors, facts)
            self._unwritten = None

    def _facts(self, step: int) -> dict[str, Any]:
        """What the header of a file says: the run, the step, and its scores where it was evaluated."""
        scores = self.scores(step) or {}
        facts = {"run": self._folder.path.name, "step": step}
        return facts | {f"test_{name}": score for name, score in scores.items()}
