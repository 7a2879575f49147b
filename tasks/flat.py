"""A model as one flat vector: what travels, is voted on and aggregated knows no shapes."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from detox.tasks.task import Task, TaskError


class FlatModel:
    """A module whose weights and gradient are views into two flat float32 vectors.

    The vector of weights holds the d trainable parameters in the order of `module.parameters()`, a tied one once,
    and behind them the b entries that have to agree without having a gradient: floating-point buffers, such as
    batch-norm statistics, and frozen parameters. Integer buffers are left alone.

    Attributes:
        module: the model.
        weights: (d + b,) float32 on the module's device.
        gradient: (d,) float32, what every parameter's `.grad` is a view of.
        d, b: sizes.

    Raises:
        TaskError: a parameter or floating-point buffer that is not float32, or no parameter to train.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        named = dict(module.named_parameters())
        trained = {name: p for name, p in named.items() if p.requires_grad}
        kept = {name: p for name, p in named.items() if not p.requires_grad}
        kept |= {name: b for name, b in module.named_buffers() if b.is_floating_point()}
        for name, tensor in {**trained, **kept}.items():
            if tensor.dtype != torch.float32:
                raise TaskError(f"the model's {name} is {tensor.dtype}; DETOX needs float32")
        if not trained:
            raise TaskError("the model has no parameter to train")
        self.d = sum(p.numel() for p in trained.values())
        self.b = sum(t.numel() for t in kept.values())
        everything = [*trained.values(), *kept.values()]
        with torch.no_grad():
            self.weights = torch.cat([t.detach().reshape(-1) for t in everything])
            for tensor, view in zip(everything, _views(self.weights, everything), strict=True):
                tensor.data = view
        self.gradient = torch.zeros_like(self.weights[: self.d])
        for parameter, view in zip(trained.values(), _views(self.gradient, trained.values()), strict=True):
            parameter.grad = view

    def load(self, weights: np.ndarray) -> None:
        """Copies in (d + b,) float32."""
        source = torch.from_numpy(weights if weights.flags.writeable else weights.copy())
        with torch.no_grad():
            self.weights.copy_(source)

    def compute(self, task: Task, indices: np.ndarray, seed: int) -> np.ndarray:
        """(d + b,) float32: the mean gradient over a file, and the buffers as the forward pass leaves them.

        A function of weights, indices and seed alone: the bits do not depend on what was computed before, and
        `weights` is left as it was found.

        Args:
            task: data and loss.
            indices: (file size,) int64, training samples.
            seed: of augmentation and dropout.
        """
        before = self.weights[self.d :].clone()
        self.gradient.zero_()
        self.module.train()
        torch.manual_seed(seed)
        task.loss(self.module, indices, torch.Generator().manual_seed(seed)).backward()  # type: ignore[no-untyped-call]
        vector = torch.cat([self.gradient, self.weights[self.d :]]).cpu().numpy()
        with torch.no_grad():
            self.weights[self.d :].copy_(before)
        return vector


def _views(vector: torch.Tensor, tensors: Iterable[torch.Tensor]) -> Iterable[torch.Tensor]:
    start = 0
    for tensor in tensors:
        yield vector[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
