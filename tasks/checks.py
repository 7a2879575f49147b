"""What a task makes, checked in words: its model and its loss."""

from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from detox.tasks.aliases import check_apart
from detox.tasks.task import TaskError

Tensors = dict[str, torch.Tensor]
_EXACT = {
    torch.bool, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
}  # fmt: skip


def split(module: nn.Module) -> tuple[Tensors, Tensors, Tensors]:
    """By name: what has a gradient, what has to agree without one, and those of the latter whose bits travel."""
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    trained: Tensors = {name: p for name, p in parameters.items() if p.requires_grad}
    rest: Tensors = {name: p for name, p in parameters.items() if not p.requires_grad} | buffers
    exact = {name: t for name, t in rest.items() if t.dtype in _EXACT or not torch.isfinite(t).all()}
    return trained, {name: t for name, t in rest.items() if name not in exact}, exact


def check_model(module: nn.Module) -> None:
    """Whether the model can be one flat vector.

    Raises:
        TaskError: a parameter or floating-point buffer that is not float32, tensors that are not dense, on several
            devices or in each other's memory, no parameter to train, one without a shape yet, or one that the
            forward pass is to renormalise.
    """
    parameters = dict(module.named_parameters())
    named: Tensors = {**parameters, **dict(module.named_buffers())}
    for name, tensor in named.items():
        if is_lazy(tensor):
            raise TaskError(
                f"the model's {name} has no shape yet: give lazy modules their sizes, or call the model once on a "
                "sample in build_model"
            )
    trained = [p for p in parameters.values() if p.requires_grad]
    if not trained:
        raise TaskError("the model has no parameter to train")
    device = trained[0].device
    for name, tensor in named.items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise TaskError(f"the model's {name} is sparse or quantised; DETOX needs dense tensors")
        if tensor.dtype != torch.float32 and (name in parameters or tensor.dtype not in _EXACT):
            half = '; autocast = "bf16" computes in bfloat16' * (tensor.dtype in (torch.bfloat16, torch.float16))
            raise TaskError(
                f"the model's {name} is {tensor.dtype}; DETOX needs float32: call float() on it in build_model{half}"
            )
        if device.type == "meta":
            raise TaskError(f"the model's {name} is on the device meta, without values")
        if tensor.is_inference():
            raise TaskError(f"the model's {name} was made in torch.inference_mode(), and cannot be trained")
        if tensor.device != device:
            raise TaskError(f"the model's {name} is on {tensor.device}, the rest on {device}; DETOX needs one device")
    check_apart(named)
    for name, part in module.named_modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.max_norm is not None and part.weight.requires_grad:
            raise TaskError(
                f"the model's {name or 'embedding'} has max_norm, which changes its weight in the forward pass, and "
                "only gradients travel: leave max_norm unset, and look up in a renormalised copy of the weight"
            )


def check_loss(loss: Any) -> None:
    """Raises TaskError unless it is a real scalar to call backward() on."""
    asked = "it has to be a scalar tensor to call backward() on"
    if not isinstance(loss, torch.Tensor):
        hint = ", without .item() or float()" if isinstance(loss, float) or hasattr(loss, "dtype") else ""
        raise TaskError(f"the loss is {kind_of(loss)}; {asked}{hint}")
    if loss.numel() != 1:
        raise TaskError(f"the loss has shape {tuple(loss.shape)}; {asked}: take its mean")
    if not loss.requires_grad:
        raise TaskError(
            f"the loss has no gradient; {asked}, computed from the given model, not detached or under no_grad()"
        )
    if loss.is_complex():
        raise TaskError(f"the loss is {loss.dtype}; {asked}")


def kind_of(value: Any) -> str:
    """A value's type in words."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
