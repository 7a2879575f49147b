"""What is trained: model, data and loss, as flat vectors to the rest of the system.

Its names are imported when they are used: torch takes a second, and the commands that only start a job need none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detox.tasks.batches import Batches
    from detox.tasks.create import TASKS, create_task
    from detox.tasks.flat import FlatModel
    from detox.tasks.models import MODELS
    from detox.tasks.task import Task, TaskError

__all__ = ["MODELS", "TAKEN", "TASKS", "Batches", "FlatModel", "Task", "TaskError", "create_task"]

TAKEN = frozenset({"step", "seconds", "bytes_in", "skipped", "copies", "votes", "waits", "computing"})
"""What a line of metrics.jsonl says besides the scores: names that no score can have."""

_HOMES = {
    "MODELS": "models",
    "TASKS": "create",
    "Batches": "batches",
    "FlatModel": "flat",
    "Task": "task",
    "TaskError": "task",
    "create_task": "create",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
