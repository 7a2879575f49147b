"""The interface of a task, which a user implements for a model of their own."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import nn

from detox.errors import UserError


class TaskError(UserError):
    """A task that cannot be had: unknown, without its data, or with a model that does not fit."""


class Task(ABC):
    """Model, data and loss: all that DETOX needs to know of a training job.

    The PS and every worker's rank make one each, by `MyTask(device=...)`; all must hold the same bits. Before the first
    step the PS tries it: the loss of a file, some times, and one evaluation.

    Attributes:
        train_size: training samples; files are drawn from 0..train_size-1.
        device: where model and data are.
        train_labels: (train_size,) integers, the class of each training sample, by which data.split spreads them over
            the files; None where there are none.
    """

    train_size: int
    device: torch.device
    train_labels: np.ndarray | None = None

    @abstractmethod
    def build_model(self) -> nn.Module:
        """A new float32 model on the device, its weights drawn from torch's global generator.

        Which parameters require a gradient is fixed here. What a forward pass changes has to be a buffer.
        """

    @abstractmethod
    def loss(self, model: nn.Module, indices: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        """Mean loss over a file, a scalar to call backward() on.

        Args:
            model: in training mode.
            indices: (file size,) int64, training samples.
            generator: on the CPU; the only source of randomness, such as augmentation. All workers of a group
                get it in the same state.
        """

    def batch(self, indices: np.ndarray, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """What `batch_loss` needs of a file's samples; the arguments are those of `loss`.

        With compute = "batched" the rest of the loss is computed for several files at once, by torch.func.vmap.

        Raises:
            TaskError: the task does not say how.
        """
        raise TaskError(f'compute = "batched": {type(self).__name__} has no methods `batch` and `batch_loss`')

    def batch_loss(self, model: nn.Module, *batch: torch.Tensor) -> torch.Tensor:
        """The loss from what `batch` returned, `loss` without the choice of samples: a function of model and batch."""
        raise TaskError(f'compute = "batched": {type(self).__name__} has no method `batch_loss`')

    def flipped(self) -> "Task":
        """The same task with training labels C-1-y in place of y, which the attack label_flip trains on.

        Raises:
            TaskError: the task does not say how.
        """
        raise TaskError(f"attack.kind = label_flip: {type(self).__name__} has no method `flipped`")

    @abstractmethod
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Metrics on test data: numbers of any kind under any names, "loss" among them. "accuracy" is a share.

        Args:
            model: in evaluation mode. Whatever becomes of it here is put back afterwards, random numbers too.
        """
