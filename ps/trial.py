"""A task is tried before the first step: what it forgets is said at once, and a run's bits do not change by it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from blake3 import blake3

from detox.ps.model import GlobalModel
from detox.tasks import Task, TaskError
from detox.tasks.preserve import random_state_preserved
from detox.tasks.samples import Files

_SEARCH = (
    "Look for numpy's or Python's random numbers (draw from the generator that the loss is given, or from torch), for "
    "the time, and for what the task or its model keeps from call to call (what a forward pass changes has to be a "
    "buffer)"
)
_SCALARS = (type(None), bool, int, float, complex, str, np.generic)
_ARRAYS = (np.ndarray, torch.Tensor)


def try_out(
    task: Task, model: GlobalModel, files: Files, *, bits: bool, signs: bool, warn: Callable[[str], object]
) -> None:
    """Computes a file of the first step twice, and evaluates once; the ranks load their data meanwhile.

    Args:
        task: the model's.
        model: as it was built.
        files: of the run.
        bits: whether votes compare bits, so that workers have to compute equal ones.
        signs: whether only signs travel.
        warn: told what the run can live with.

    Raises:
        TaskError: the task cannot be trained or evaluated.
    """
    indices, seed = files.draw(1)[0], files.file_seed(1, 0)
    with random_state_preserved():
        first, state = model.compute(indices, seed), _state(task, model)
        second, state_after = model.compute(indices, seed), _state(task, model)
        changed = [name for name in state if state_after.get(name) != state[name]]
        if first.tobytes() != second.tobytes():
            kept = f": {', '.join(changed[:3])} changed from call to call" if changed else ""
            said = f"the task is not deterministic: the same file gave other bits the second time{kept}. {_SEARCH}"
            if bits:
                raise TaskError(f"{said}. Workers of a group would never agree")
            warn(said)
        elif in_model := [name for name in changed if name.startswith("model")]:
            raise TaskError(
                f"{in_model[0]} changes with each forward pass. An attribute is neither voted on nor in a checkpoint, "
                "and each rank has one of its own: register it as a buffer, of integers if it counts, and leave the "
                "parameters' requires_grad as it is, for d is fixed"
            )
        elif changed:
            warn(f"{changed[0]} changes with each call of the loss; each rank has one of its own, and no checkpoint")
        if not np.isfinite(first[: model.d]).all():
            said = "the loss of the untrained model has a gradient with NaN or infinity, on the first file of step 1"
            if signs:
                raise TaskError(f"{said}; signs cannot say so")
            warn(said)
        if signs and (unused := model.without_gradient(first[None], 0)):
            raise TaskError(
                f"the loss does not reach {len(unused)} of the model's parameters, which a sign would move: let them "
                'not require a gradient, or leave compression.kind = "sign"'
            )
        model.evaluate()


def _state(task: Task, model: GlobalModel) -> dict[str, str]:
    """What attributes hold, by name: numbers and words of the task, whose arrays are data; arrays of modules."""
    found = {f"{type(task).__name__}.{name}": repr(value) for name, value in _attributes(task, _SCALARS)}
    for path, module in model.module.named_modules():
        prefix = f"model.{path}." if path else "model."
        found |= {prefix + name: _content(value) for name, value in _attributes(module, (*_SCALARS, *_ARRAYS))}
    return found


def _attributes(owner: object, kinds: tuple[type, ...]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in getattr(owner, "__dict__", {}).items() if isinstance(value, kinds)]


def _content(value: Any) -> str:
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized:
        value = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return blake3(np.ascontiguousarray(value).tobytes()).hexdigest()
    return repr(value)
