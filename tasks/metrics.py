"""What `evaluate` returns, as numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from detox.tasks.checks import kind_of
from detox.tasks.task import TaskError

_TAKEN = {"step", "seconds", "bytes_in", "skipped"}
"""What a line of metrics.jsonl has besides."""


def as_metrics(found: Any) -> dict[str, float]:
    """Floats by name, from numbers of any kind.

    Raises:
        TaskError: no dict, no "loss" in it, a name that cannot be one, or a value that is no real number.
    """
    if not isinstance(found, Mapping):
        raise TaskError(f'evaluate returned {kind_of(found)}; it has to return a dict of numbers with a "loss"')
    for name in found:
        if not isinstance(name, str) or not name.isprintable() or not name.strip() or name in _TAKEN:
            raise TaskError(
                f"evaluate returned a metric named {name!r}; names are strings, other than {', '.join(sorted(_TAKEN))}"
            )
    if "loss" not in found:
        has = ", ".join(found) or "nothing"
        raise TaskError(f'evaluate returned {has}, and no "loss"; it may return any metrics, but needs that one')
    return {name: _number(name, value) for name, value in found.items()}


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value.item() if isinstance(value, np.ndarray | torch.Tensor) else value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, np.ndarray | torch.Tensor) else ""
        raise TaskError(f"evaluate returned {kind_of(value)}{shape} as {name}; it has to be a real number") from None
