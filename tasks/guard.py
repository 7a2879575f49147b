"""What a loss must leave alone: where the model's tensors are, which are trained, and the parameters' values."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn

from detox.tasks.task import TaskError


def views_of(vector: torch.Tensor, tensors: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Stretches of a flat vector, one behind the other, in the shapes of the tensors."""
    start = 0
    for tensor in tensors:
        yield vector[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()


class Guard:
    """Knows a model whose tensors are views into flat vectors as it is now, and tells what a loss has done to it.

    Args:
        module: the model, every tensor and gradient in its place.
        trained: its trainable parameters by name, in the order of their entries, which are the first of the vector.
    """

    def __init__(self, module: nn.Module, trained: Mapping[str, torch.Tensor]) -> None:
        self._module = module
        self._trained = trained
        self._d = sum(tensor.numel() for tensor in trained.values())
        self._places = self._find()

    def check_places(self) -> None:
        """Without it a replaced tensor would leave stale bits in the vector, and nobody would know.

        Raises:
            TaskError: a tensor is no longer where it was, or other parameters are trained.
        """
        trained = {name for name, parameter in self._module.named_parameters() if parameter.requires_grad}
        if changed := sorted(trained ^ self._trained.keys()):
            raise TaskError(
                f"requires_grad changed for {', '.join(changed[:3])}{', ...' * (len(changed) > 3)}: which parameters "
                "are trained, and d with them, is fixed when the model is built. To train a layer later, let it "
                "require a gradient from the start and detach() its output until then: a parameter that the loss "
                "does not reach is left alone"
            )
        found = self._find()
        if found == self._places:
            return
        name = min(name for name in found.keys() | self._places.keys() if found.get(name) != self._places.get(name))
        resized = name in found and found[name][0] == self._places.get(name, (None,))[0]
        what = f"resized the model's {name}" if resized else f"replaced the model's {name} by another tensor"
        instead = (
            "take gradients in the loss by torch.autograd.grad()"
            if name.startswith("gradient of ")
            else ("change it in place, as by copy_()")
        )
        raise TaskError(f"the loss {what}; {instead}")

    def changed(self, before: torch.Tensor, weights: torch.Tensor) -> str:
        """The name of a trained parameter whose bits are others than before; empty where there is none.

        Without it what the loss does to parameters would be lost: only their gradient travels.

        Args:
            before, weights: (d + b,) float32, as they were and as they are.
        """
        now, then = (vector[: self._d].view(torch.int32) for vector in (weights, before))
        if torch.equal(now, then):
            return ""
        tensors = self._trained.values()
        views = zip(self._trained, views_of(now, tensors), views_of(then, tensors), strict=True)
        return next(name for name, new, old in views if not torch.equal(new, old))

    def _find(self) -> dict[str, tuple[int, torch.Size]]:
        """Where every tensor that is a view lives, and its shape; address 0 for a gradient that is gone."""
        named = {**dict(self._module.named_parameters()), **dict(self._module.named_buffers())}
        places = {name: (tensor.data_ptr(), tensor.shape) for name, tensor in named.items()}
        gradients = {f"gradient of {name}": parameter.grad for name, parameter in self._trained.items()}
        return places | {
            name: (0, torch.Size()) if grad is None else (grad.data_ptr(), grad.shape)
            for name, grad in gradients.items()
        }
