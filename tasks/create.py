"""A task from its name: built in, or a user's own class."""

import inspect
from pathlib import Path

import numpy as np
import torch

from detox.tasks.classification import Classification
from detox.tasks.datasets import DATASETS
from detox.tasks.devices import find_device, fix_gpu
from detox.tasks.models import MODELS
from detox.tasks.own import own
from detox.tasks.task import Task, TaskError
from detox.tasks.users import users_code

TASKS = tuple(DATASETS)


def create_task(
    name: str, *, model: str | None = None, data_dir: str | Path | None = None, device: str = "cpu"
) -> Task:
    """The task of that name.

    Args:
        name: one of TASKS, or "my_module:MyTask" for a class of the user's own, looked for in the current
            folder too and called as MyTask(device=...).
        model: one of MODELS; None takes the task's default. Not for an own task, which knows its model.
        data_dir: folder of the data set; None looks in the usual places. Not for an own task.
        device: "cpu", "cuda" or "cuda:N"; see find_device.

    Raises:
        TaskError: unknown name, missing data, a model that does not fit, no such device.
    """
    where = find_device(device)
    if ":" in name:
        if model is not None or data_dir is not None:
            raise TaskError(f"task {name} is your own: it brings its model and data; leave model and data_dir unset")
        return _own(name, where)
    if name not in DATASETS:
        raise TaskError(f"unknown task {name!r}; known: {', '.join(TASKS)}, or my_module:MyTask for one of your own")
    chosen = DATASETS[name].model if model is None else model
    if chosen not in MODELS:
        raise TaskError(f"unknown model {chosen!r}; known: {', '.join(MODELS)}")
    images = DATASETS[name].load(None if data_dir is None else Path(data_dir).expanduser())
    return Classification(images, MODELS[chosen], where)


def _own(name: str, device: torch.device) -> Task:
    kind, attribute = own(f"task {name}", name), name.partition(":")[2]
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise TaskError(f"task {name}: {attribute} is not a subclass of detox.tasks.Task")
    if inspect.isabstract(kind):
        raise TaskError(f"task {name}: {attribute} lacks {', '.join(sorted(kind.__abstractmethods__))}")
    try:
        inspect.signature(kind).bind(device=device)
    except TypeError as error:
        raise TaskError(f"task {name} is made by {attribute}(device=...): {error}") from None
    with users_code(f"task {name}: {attribute}(device=...)"):
        task: Task = kind(device=device)  # type: ignore[call-arg]
        fix_gpu()  # many a script lets cuDNN choose, which is another kernel from rank to rank
        missing = not hasattr(kind, "train_size") and "train_size" not in vars(task)
        size = None if missing else task.train_size
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        got = "nothing" if size is None else repr(size)
        raise TaskError(
            f"task {name}: {attribute} must set train_size, the number of training samples, to an integer of at least "
            f"1; it is {got}"
        )
    return task
