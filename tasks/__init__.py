"""What is trained: model, data and loss, as flat vectors to the rest of the system."""

from detox.tasks.create import TASKS, create_task
from detox.tasks.flat import FlatModel
from detox.tasks.models import MODELS
from detox.tasks.task import Task, TaskError

__all__ = ["MODELS", "TASKS", "FlatModel", "Task", "TaskError", "create_task"]
