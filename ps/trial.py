"""A task is tried before the first step: what it forgets is said at once, and a run's bits do not change by it."""

from collections.abc import Callable

import numpy as np

from detox.ps.model import GlobalModel
from detox.tasks import Task, TaskError
from detox.tasks.preserve import random_state_preserved
from detox.tasks.samples import Files
from detox.tasks.state import state_of_model, state_of_task

_SEARCH = (
    "Look for numpy's or Python's random numbers (draw from the generator that the loss is given, or from torch), for "
    "the time, and for what the task or its model keeps from call to call (what a forward pass changes has to be a "
    "buffer)"
)
_APART, _APART_BFLOAT16 = 1e-3, 0.1
"""Of its length a gradient under vmap may be from the one without: rounding in the forward pass's precision."""


def try_out(
    task: Task, model: GlobalModel, files: Files, *, bits: bool, signs: bool, warn: Callable[[str], object]
) -> dict[str, float]:
    """Computes a file of the first step repeatedly, also after a small move of the weights, and evaluates once.

    Returns the metrics. The ranks load their data meanwhile.

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
    indices[-1] = files.train_size - 1  # whether there is a last sample
    with random_state_preserved():
        if evaluating := _evaluating(model):
            warn(
                f"build_model leaves {_few(evaluating)} in evaluation mode, but the loss gets the model in training "
                "mode: what is to stay as it is, such as a frozen batch norm, has to override train()"
            )
        weights = model.weights.copy()
        first, state = model.compute(indices, seed), _state(task, model)
        second, after = model.compute(indices, seed), _state(task, model)
        changed = [name for name in state if after.get(name) != state[name]]
        if _same(first, second) and not changed and np.isfinite(first[: model.d]).all():
            del second  # vectors may be most of the memory
            model.load(_moved(weights, first[: model.d]))  # what follows the weights has stood still until now
            model.compute(indices, seed)
            model.load(weights)
            second, after = model.compute(indices, seed), _state(task, model)
            changed = [name for name in state if after.get(name) != state[name]]
        if not _same(first, second):
            kept = f": {_few(changed)} changed from call to call" if changed else ""
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
            warn(f"with each call of the loss changes {_few(changed)}; each rank has its own, and no checkpoint has it")
        if model.files_at_once > 1 and _same(first, second):
            _compare_calls(model, indices, seed, first, bits=bits, warn=warn)
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
        return model.evaluate()


def _compare_calls(
    model: GlobalModel, indices: np.ndarray, seed: int, alone: np.ndarray, *, bits: bool, warn: Callable[[str], object]
) -> None:
    """Compares what batched calls give for a file, `alone` in one and beside others, and a call without vmap."""
    if not _same(model.compute_beside(indices[::-1], indices, seed), alone):
        said = (
            'compute = "batched": a file has other bits beside another file than alone, so they would go by what comes '
            'together; set compute = "each"'
        )
        if bits:
            raise TaskError(said)
        warn(said)
    each = model.compute_each(indices, seed)
    names = [name for name, _ in model.layout]
    reached = set(model.without_gradient(each[None], 0)) ^ set(model.without_gradient(alone[None], 0))
    if reached:
        raise TaskError(
            f'compute = "batched": the loss reaches {_few([names[index] for index in sorted(reached)])} in one of '
            "`loss` and `batch_loss` only. Under vmap a layer finds its weights as its attributes, not in a list or "
            'a closure that holds them too; mend the model or `batch_loss`, or set compute = "each"'
        )
    expected, found = each[: model.d].astype(np.float64), alone[: model.d].astype(np.float64)
    tolerance = _APART_BFLOAT16 if model.computing.autocast else _APART
    length, apart = np.linalg.norm(expected), np.linalg.norm(found - expected)
    if np.isfinite(length) and not apart <= tolerance * length:
        raise TaskError(
            f'compute = "batched": the gradient of `batch_loss` is {apart:.1e} from that of `loss`, whose length is '
            f"{length:.1e}; it has to be the same loss of the same samples, by layers that use their own attributes as "
            'weights. Mend it, or set compute = "each"'
        )


def _state(task: Task, model: GlobalModel) -> dict[str, bytes]:
    return state_of_model(model.module) | state_of_task(task, model.module)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one.view(np.uint32), other.view(np.uint32))


def _moved(weights: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    moved = weights.copy()
    np.multiply(gradient, np.float32(-1e-3), out=moved[: len(gradient)])
    moved[: len(gradient)] += weights[: len(gradient)]
    return moved


def _evaluating(model: GlobalModel) -> list[str]:
    """Parts that the model puts into training mode, and that were built otherwise than the whole."""
    module, parts = model.module, dict(model.module.named_modules())
    before = [name for name, part in parts.items() if not part.training]
    whole = module.training
    module.train()
    return [name for name in before if parts[name].training] if whole else []


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)
