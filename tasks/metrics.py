"""What `evaluate` returns, as numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from detox.tasks import TAKEN
from detox.tasks.checks import kind_of
from detox.tasks.task import TaskError


def as_metrics(found: Any) -> dict[str, float]:
    """Floats by name, from numbers of Python, numpy or torch, of any type with one real value.

    Raises:
        TaskError: no dict, no "loss" in it, a name that cannot be one, or a value that is no real number.
    """
    if not isinstance(found, Mapping) or "loss" not in found:
        raise TaskError(f'the task\'s evaluate has to return a dict with a "loss", not {_shown(found)}')
    for name in found:
        if not isinstance(name, str) or not name.isprintable() or not name.strip() or name in TAKEN:
            raise TaskError(f"the task's evaluate returned a score named {name!r}; give it another name")
    return {name: _number(name, value) for name, value in found.items()}


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, str | bytes) or value is np.ma.masked:
            raise TypeError
        plain = value.item() if isinstance(value, np.ndarray | np.generic | torch.Tensor) else value
        return float(plain)
    except Exception:  # a user's own type can fail with anything
        raise TaskError(
            f"the task's evaluate returned {name} = {_shown(value)}, {kind_of(value)}; a number is needed"
        ) from None


def _shown(value: Any) -> str:
    try:
        return " ".join(repr(value).split())[:80]
    except Exception:
        return f"{kind_of(value)} that cannot be printed"
