"""The best evaluation of a run, by one of its scores, and how long ago it was."""

from collections.abc import Mapping
from typing import Literal

Direction = Literal["higher", "lower"]
KNOWN: dict[str, Direction] = {"accuracy": "higher", "loss": "lower"}
"""Scores of which everybody knows what is better."""


class Best:
    """The best evaluation so far: a score that is not finite is no best, and of equal ones the first is it.

    Args:
        metric: name of the score; None: accuracy where there is one, else loss.
        direction: what is better; None: as KNOWN says.

    Attributes:
        step, score: of the best; 0 and None before there is one.
        since: evaluations in a row that were no better.
    """

    def __init__(self, metric: str | None = None, direction: Direction | None = None) -> None:
        self._metric = metric
        self._direction = direction
        self.step, self.score, self.since = 0, None, 0  # type: int, float | None, int

    def metric(self, scores: Mapping[str, object]) -> str:
        """The name of the score, of an evaluation with these."""
        return self._metric or ("accuracy" if "accuracy" in scores else "loss")

    def take(self, step: int, scores: Mapping[str, float | None]) -> bool:
        """Counts an evaluation; whether it is the best so far."""
        name = self.metric(scores)
        score, lower = scores.get(name), (self._direction or KNOWN[name]) == "lower"
        better = score is not None and (self.score is None or (score < self.score if lower else score > self.score))
        self.since = 0 if better else self.since + 1
        if better:
            self.step, self.score = step, score
        return better

    def state(self) -> tuple[int, float | None, int]:
        """All that a checkpoint needs."""
        return self.step, self.score, self.since

    def restore(self, state: tuple[int, float | None, int]) -> None:
        """The inverse of state."""
        self.step, self.score, self.since = state
