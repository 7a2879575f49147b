"""The model that the PS owns: only here are weights changed."""

from typing import Any

import numpy as np
import torch

from detox.tasks import FlatModel, Task
from detox.wire import digest_of


class GlobalModel:
    """The task's model with its optimizer and schedule, on flat vectors.

    Args:
        task: makes the model and evaluates it.
        seed: of the initial weights.
        steps: length of the run, for the cosine schedule.
        optimizer: class name in torch.optim.
        arguments: of the optimizer, lr among them.
        schedule: "constant", "step" or "cosine".
        milestones: steps at which "step" multiplies the learning rate by gamma.
        gamma: factor of "step".

    Attributes:
        d, b: parameters, and the buffers that travel with them.
        previous: (d,), the last update, kept where the aggregation starts from it; numpy, or a tensor on a GPU.

    Raises:
        ValueError: unknown optimizer, or arguments that it does not take.
    """

    def __init__(
        self,
        task: Task,
        *,
        seed: int,
        steps: int,
        optimizer: str = "SGD",
        arguments: dict[str, Any] | None = None,
        schedule: str = "constant",
        milestones: tuple[int, ...] = (),
        gamma: float = 0.1,
    ) -> None:
        self._task = task
        self.previous: Any = None
        torch.manual_seed(seed)
        self._flat = FlatModel(task.build_model())
        self.d, self.b = self._flat.d, self._flat.b
        parameters = [p for p in self._flat.module.parameters() if p.requires_grad]
        self._optimizer = create_optimizer(optimizer, parameters, arguments or {"lr": 0.1})
        self._schedule: torch.optim.lr_scheduler.LRScheduler
        if schedule == "step":
            self._schedule = torch.optim.lr_scheduler.MultiStepLR(self._optimizer, list(milestones), gamma)
        elif schedule == "cosine":
            self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, steps)
        else:
            self._schedule = torch.optim.lr_scheduler.ConstantLR(self._optimizer, 1.0, 0)

    @property
    def weights(self) -> np.ndarray:
        """(d + b,) float32: parameters, then the buffers that travel with them. A copy where the model is on a GPU."""
        return self._flat.weights.detach().cpu().numpy()

    @property
    def digest(self) -> str:
        """BLAKE3 of the weights' bytes, in hexadecimal."""
        return digest_of(self.weights).hex()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._flat.weights.device

    def compute(self, indices: np.ndarray, seed: int) -> np.ndarray:
        """(d + b,) float32: what an honest worker sends for this file; see FlatModel.compute."""
        return self._flat.compute(self._task, indices, seed)

    def apply(self, update: Any, buffers: Any) -> None:
        """One optimizer step along `update`, (d,), and the agreed `buffers`, (b,); arrays or tensors."""
        self._flat.gradient.copy_(torch.as_tensor(update))
        self._optimizer.step()
        if self.b:
            with torch.no_grad():
                self._flat.weights[self.d :].copy_(torch.as_tensor(buffers))
        self._schedule.step()

    def evaluate(self) -> dict[str, float]:
        """Loss and accuracy on the task's test data."""
        return self._task.evaluate(self._flat.module)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs."""
        return {
            "weights": self._flat.weights.detach().cpu().clone(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "previous": None if self.previous is None else torch.as_tensor(self.previous).cpu(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        with torch.no_grad():
            self._flat.weights.copy_(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        previous = state["previous"]
        if previous is not None:
            self.previous = previous.numpy() if self.device.type == "cpu" else previous.to(self.device)


def create_optimizer(
    name: str, parameters: list[torch.nn.Parameter], arguments: dict[str, Any]
) -> torch.optim.Optimizer:
    """The optimizer `name` of torch.optim.

    Raises:
        ValueError: unknown, or it does not take these arguments, or more than a gradient is needed for a step.
    """
    base = torch.optim.Optimizer
    known = {
        n: v for n, v in vars(torch.optim).items() if isinstance(v, type) and issubclass(v, base) and v is not base
    }
    if name not in known:
        raise ValueError(f"optimizer.name: torch.optim has no {name}; it has {', '.join(sorted(known))}")
    toy = torch.nn.Parameter(torch.zeros(1, 1))
    toy.grad = torch.ones(1, 1)
    try:
        known[name]([toy], **arguments).step()  # some want more than dense gradients
        return known[name](parameters, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"optimizer: {name}: {error}") from None
