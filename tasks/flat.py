"""A model as one flat vector: what travels, is voted on and aggregated knows no shapes."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn

from detox.tasks.task import Task, TaskError


class FlatModel:
    """A module whose weights and gradient are views into two flat float32 vectors.

    The vector of weights holds the d trainable parameters in the order of `module.parameters()`, a tied one
    once, and behind them the b entries that have to agree without having a gradient: frozen parameters, then
    floating-point buffers such as batch-norm statistics. Integer buffers are not part of it.

    Attributes:
        module: the model.
        weights: (d + b,) float32 on the module's device.
        gradient: (d,) float32, what every parameter's `.grad` is a view of.
        d, b: sizes.

    Raises:
        TaskError: a parameter or buffer that is not float32, tensors on several devices or in each other's
            memory, or no parameter to train.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        trained, kept = _split(module)
        _check(trained, kept)
        everything = [*trained.values(), *kept.values()]
        self.d = sum(t.numel() for t in trained.values())
        self.b = sum(t.numel() for t in kept.values())
        self.weights = torch.cat([t.detach().reshape(-1) for t in everything])
        self.gradient = torch.zeros_like(self.weights[: self.d])
        for tensor, view in zip(everything, _views(self.weights, everything), strict=True):
            tensor.data = view
        for parameter, view in zip(trained.values(), _views(self.gradient, trained.values()), strict=True):
            parameter.grad = view
        self._addresses = _addresses(module)

    def load(self, weights: np.ndarray) -> None:
        """Copies in (d + b,) float32."""
        # Torch warns of arrays that must not be written to, such as received messages.
        source = torch.from_numpy(weights if weights.flags.writeable else weights.copy())
        self.weights.copy_(source)

    def compute(self, task: Task, indices: np.ndarray, seed: int) -> np.ndarray:
        """(d + b,) float32: the mean gradient over a file, and the buffers as the forward pass leaves them.

        A function of weights, indices and seed alone: the bits do not depend on what was computed before.
        Weights and buffers, integer ones too, are left as they were. Torch's global generators are seeded.

        Args:
            task: data and loss.
            indices: (file size,) int64, training samples.
            seed: of augmentation and dropout.

        Raises:
            TaskError: the loss put another tensor in the place of a parameter, gradient or buffer.
        """
        kept = self.weights[self.d :].clone()
        integers = [(buffer, buffer.clone()) for buffer in self.module.buffers() if not buffer.is_floating_point()]
        self.gradient.zero_()
        self.module.train()
        _seed(self.weights.device, seed)
        loss = task.loss(self.module, indices, torch.Generator().manual_seed(seed))
        loss.backward()  # type: ignore[no-untyped-call]
        self._check_addresses()
        vector: np.ndarray = torch.cat([self.gradient, self.weights[self.d :]]).cpu().numpy()
        self.weights[self.d :].copy_(kept)
        for buffer, value in integers:
            buffer.copy_(value)
        return vector

    def _check_addresses(self) -> None:
        """Without it a replaced tensor would leave stale bits in the vector, and nobody would know."""
        found = _addresses(self.module)
        if found != self._addresses:
            names = found.keys() | self._addresses.keys()
            name = min(name for name in names if found.get(name) != self._addresses.get(name))
            raise TaskError(
                f"the loss replaced the model's {name} by another tensor; change it in place, as by copy_()"
            )


def _seed(device: torch.device, seed: int) -> None:
    # torch.manual_seed also looks for kinds of device that are not used, for longer than a small gradient takes.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def _split(module: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """By name: what has a gradient, and what has to agree without one."""
    named = list(module.named_parameters())
    trained: dict[str, torch.Tensor] = {name: p for name, p in named if p.requires_grad}
    kept: dict[str, torch.Tensor] = {name: p for name, p in named if not p.requires_grad}
    kept |= {name: b for name, b in module.named_buffers() if b.is_floating_point() or b.is_complex()}
    return trained, kept


def _check(trained: dict[str, torch.Tensor], kept: dict[str, torch.Tensor]) -> None:
    if not trained:
        raise TaskError("the model has no parameter to train")
    seen: dict[int, str] = {}
    device = next(iter(trained.values())).device
    for name, tensor in {**trained, **kept}.items():
        if tensor.dtype != torch.float32:
            raise TaskError(f"the model's {name} is {tensor.dtype}; DETOX needs float32")
        if tensor.device != device:
            raise TaskError(f"the model's {name} is on {tensor.device}, the rest on {device}; DETOX needs one device")
        if tensor.numel() and seen.setdefault(tensor.data_ptr(), name) != name:
            raise TaskError(
                f"the model's {seen[tensor.data_ptr()]} and {name} are two tensors in the same memory; "
                "tie them by assigning one parameter to both names"
            )


def _addresses(module: nn.Module) -> dict[str, int]:
    """Where every tensor that is a view lives; 0 for a gradient that is gone."""
    trained, kept = _split(module)
    places = {name: tensor.data_ptr() for name, tensor in (trained | kept).items()}
    return places | {f"gradient of {name}": 0 if p.grad is None else p.grad.data_ptr() for name, p in trained.items()}


def _views(vector: torch.Tensor, tensors: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    start = 0
    for tensor in tensors:
        yield vector[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
