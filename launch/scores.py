"""What a task's evaluation says of a model, as numbers that a file and a table can hold."""

import math
from typing import Any, Protocol

from detox.errors import JobError
from detox.tasks import TaskError
from detox.tasks.metrics import as_metrics
from detox.tasks.users import users_code

Scores = dict[str, float | None]


class EvaluationError(JobError):
    """The task's `evaluate` failed, or returned something else than numbers; the message says where."""


class Evaluated(Protocol):
    """What can be evaluated."""

    def evaluate(self) -> Any:
        """Name -> score."""


def evaluate(model: Evaluated) -> Scores:
    """The scores by name, `loss` among them; None where not finite, for which JSON has no number.

    Raises:
        EvaluationError: there are none.
    """
    try:
        with users_code("the task's evaluate"):
            scores = as_metrics(model.evaluate())
    except TaskError as error:
        raise EvaluationError(str(error)) from error
    return {name: score if math.isfinite(score) else None for name, score in scores.items()}
