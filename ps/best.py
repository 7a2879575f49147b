"""The best evaluation of a run, by one of its scores, and how long ago it was."""

from collections.abc import Mapping
from typing import Any, Literal

Direction = Literal["higher", "lower"]
KNOWN: dict[str, Direction] = {
    **dict.fromkeys(("accuracy", "auc", "bleu", "f1", "precision", "r2", "recall"), "higher"),
    **dict.fromkeys(("loss", "bits_per_character", "error", "mae", "mse", "perplexity", "rmse"), "lower"),
}  # fmt: skip
"""Scores of which everybody knows what is better."""


class Best:
    """The best evaluation so far: a score that is not finite is no best, and of equal ones the first is it.

    Args:
        metric: name of the score; None: accuracy where there is one, else loss.
        direction: what is better; None: as KNOWN says.

    Attributes:
        step, score: of the best; 0 and None before there is one.
        since: evaluations in a row that were no better.
        last: the newest step that counted; one that is evaluated again, after a restart, counts no more.
    """

    def __init__(self, metric: str | None = None, direction: Direction | None = None) -> None:
        self._metric = metric
        self._direction = direction
        self.step, self.since, self.last = 0, 0, 0
        self.score: float | None = None

    def metric(self, scores: Mapping[str, object]) -> str:
        """The name of the score, of an evaluation with these."""
        return self._metric or ("accuracy" if "accuracy" in scores else "loss")

    def take(self, step: int, scores: Mapping[str, float | None]) -> bool:
        """Counts an evaluation; whether it is the best so far."""
        if step <= self.last:
            return False
        name = self.metric(scores)
        score, lower = scores.get(name), (self._direction or KNOWN[name]) == "lower"
        better = score is not None and (self.score is None or (score < self.score if lower else score > self.score))
        self.last, self.since = step, 0 if better else self.since + 1
        if better:
            self.step, self.score = step, score
        return better

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs."""
        return {"step": self.step, "score": self.score, "since": self.since, "last": self.last}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self.step, self.score, self.since, self.last = (state[name] for name in ("step", "score", "since", "last"))
