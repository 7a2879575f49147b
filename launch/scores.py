"""What a task's evaluation says of a model, as numbers that a file and a table can hold."""

import math
import traceback
from typing import Any, Protocol

Scores = dict[str, float | None]
TAKEN = {"step", "seconds", "bytes_in", "skipped"}  # names of a line of metrics.jsonl


class EvaluationError(RuntimeError):
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
        return numbers(model.evaluate())
    except EvaluationError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise EvaluationError(
            f"the task's evaluate failed: {type(error).__name__}: {error} ({last.filename}, line {last.lineno})"
        ) from error


def numbers(scores: Any) -> Scores:
    """What `evaluate` returned, as plain numbers: of Python, numpy or torch, of any type with one value.

    Raises:
        EvaluationError: something else, or no `loss`.
    """
    if not isinstance(scores, dict) or "loss" not in scores:
        raise EvaluationError(f'the task\'s evaluate has to return a dict with a "loss", not {scores!r:.80}')
    found: Scores = {}
    for name, score in scores.items():
        if not isinstance(name, str) or name in TAKEN:
            raise EvaluationError(f"the task's evaluate returned a score named {name!r}; give it another name")
        try:
            value = float(score)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise EvaluationError(
                f"the task's evaluate returned {name} = {score!r:.80}, a {type(score).__name__}; a number is needed"
            ) from None
        found[name] = value if math.isfinite(value) else None
    return found
