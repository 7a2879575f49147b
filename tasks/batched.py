"""The gradients of several files in one call: torch.func.vmap over the files, each with weights of its own."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, vmap

from detox.tasks.checks import check_loss, kind_of
from detox.tasks.computing import FILES
from detox.tasks.devices import seed_torch
from detox.tasks.task import Task, TaskError
from detox.tasks.users import users_code

File = tuple[np.ndarray, int]
"""Its training samples, (file size,) int64, and the seed of augmentation."""
Batch = tuple[torch.Tensor, ...]
_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class Batched:
    """A module's loss as a function of weights that each file has of its own.

    That makes a product with weights a batched one, whose bits for one file depend on neither its place nor the others:
    weights that files share would make one product of all samples, cut into tiles elsewhere for each file.

    Args:
        module: the model.
        trained: its trained parameters, in the order of their entries.

    Raises:
        TaskError: the model has a layer that vmap cannot do in training.
    """

    def __init__(self, module: nn.Module, trained: Sequence[torch.Tensor]) -> None:
        _check(module)
        frozen = [parameter for parameter in module.parameters() if not parameter.requires_grad]
        self._module = module
        self._count = len(trained)
        self._parameters = [*trained, *frozen]
        numbers = {id(parameter): number for number, parameter in enumerate(self._parameters)}
        # functional_call leaves its weights in a layer that is in the model twice, unless it is named once.
        self._places = {
            f"module.{layer}.{name}".replace("..", "."): numbers[id(parameter)]
            for layer, part in module.named_modules()
            for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False)
        }

    def gradients(self, task: Task, files: Sequence[File], forward: AbstractContextManager[object]) -> torch.Tensor:
        """(files, d) float32, as FlatModel.compute has the first d entries.

        Args:
            task: data and loss.
            files: 1 to FILES, of one size.
            forward: around the forward pass.

        Raises:
            TaskError: the task has no batch, its loss fails or is no scalar with a gradient, or vmap cannot do it.
        """
        batches = []
        for indices, seed in files:
            seed_torch(self._parameters[0].device, seed)
            with users_code("the task's batch"):
                batches.append(task.batch(indices.copy(), torch.Generator().manual_seed(seed)))
        loss = _Loss(self._module, task)

        def one(weights: list[torch.Tensor], batch: Batch) -> torch.Tensor:
            placed = {place: weights[number] for place, number in self._places.items()}
            found = functional_call(loss, placed, (batch,), tie_weights=False)
            if not isinstance(found, torch.Tensor) or found.numel() != 1:
                check_loss(found)
            return torch.reshape(found, ())  # whether it has a gradient is not to be seen under vmap

        weights = [p.detach().expand(FILES, *p.shape) for p in self._parameters]
        leaves = [of_all.requires_grad_() for of_all in weights[: self._count]]
        with torch.enable_grad(), users_code('compute = "batched", where "each" may do: the loss under vmap'):
            with forward:
                losses = vmap(one)(weights, _stacked(batches))
            total = losses.sum()
            check_loss(total)
            found = torch.autograd.grad(total, leaves, allow_unused=True)
        parts = [
            torch.full((len(files), leaf[0].numel()), -0.0, device=leaf.device)  # not reached
            if part is None
            else part[: len(files)].reshape(len(files), -1) + 0.0  # no -0.0, which is for what is not reached
            for part, leaf in zip(found, leaves, strict=True)
        ]
        return torch.cat(parts, 1)


class _Loss(nn.Module):
    """A task's loss on a batch, with the model in it, so that functional_call puts weights into the model's place."""

    def __init__(self, module: nn.Module, task: Task) -> None:
        super().__init__()
        self.module = module
        self._task = task

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss, a scalar."""
        return self._task.batch_loss(self.module, *batch)


def _stacked(batches: Sequence[Any]) -> Batch:
    """Each tensor of all files, (FILES, ...); the last file fills up what is missing."""
    for batch in batches:
        if not isinstance(batch, tuple) or not all(isinstance(tensor, torch.Tensor) for tensor in batch):
            raise TaskError(f"the task's batch returned {kind_of(batch)}; it has to return a tuple of tensors")
    filled = [*batches, *[batches[-1]] * (FILES - len(batches))]
    return tuple(torch.stack(parts) for parts in zip(*filled, strict=True))


def _check(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if getattr(part, "track_running_stats", False):
            why = "its running statistics would be of all files of a call"
        elif isinstance(part, _DROPOUT) and part.p > 0:
            why = "it would draw from one seed for all files of a call"
        else:
            continue
        raise TaskError(
            f'compute = "batched": the model\'s {name or "whole"} is {kind_of(part)}, and {why}; set compute = "each"'
        )
