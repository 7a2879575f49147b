"""The model that the PS owns: only here are weights changed."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from detox.aggregators import RULES, tolerates
from detox.tasks import FlatModel, Task
from detox.tasks.devices import to_host
from detox.tasks.metrics import as_metrics
from detox.tasks.named import named_tensors
from detox.tasks.preserve import preserved
from detox.tasks.users import users_code
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
        d, b, words: entries of the parameters, and of what travels with them; see FlatModel.
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
        self._flat = FlatModel.build(task, seed)
        self.d, self.b, self.words = self._flat.d, self._flat.b, self._flat.words
        self._optimizer = create_optimizer(optimizer, self._flat.trained, arguments or {"lr": 0.1})
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
        return to_host(self._flat.weights)

    @property
    def digest(self) -> str:
        """BLAKE3 of the bytes of parameters and floating-point buffers, in hexadecimal."""
        return digest_of(self.weights[: self.d + self.b - self.words]).hex()

    @property
    def module(self) -> torch.nn.Module:
        """The model."""
        return self._flat.module

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._flat.weights.device

    def compute(self, indices: np.ndarray, seed: int) -> np.ndarray:
        """(d + b,) float32: what an honest worker sends for this file; see FlatModel.compute."""
        return self._flat.compute(self._task, indices, seed)

    def load(self, weights: np.ndarray) -> None:
        """Copies in (d + b,) float32."""
        self._flat.load(weights)

    def agree(self, votes: Any, f: int) -> Any:
        """(b,), what the votes about buffers, (m, b), come to: the coordinate-wise median, and of exact ones the lower.

        Args:
            votes: numpy, or a tensor on the model's device.
            f: bad votes to tolerate, as far as the median can.
        """
        floats, words = votes[:, : self.b - self.words], votes[:, self.b - self.words :]
        agreed = floats[0]
        if floats.shape[1]:
            agreed = RULES["median"](floats, f=min(f, tolerates("median", len(votes))))
        if not self.words:
            return agreed
        exact = self._flat.exact.median(words if isinstance(words, np.ndarray) else words.cpu().numpy())
        return torch.cat([torch.as_tensor(agreed), torch.as_tensor(exact).to(self.device)])

    def named(self) -> dict[str, torch.Tensor]:
        """The model's tensors by the names of its state_dict(), on the CPU; copies."""
        return named_tensors(self._flat.module)

    def start_from(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Makes these the weights before the first step; see detox.tasks.named.load_named for what it raises."""
        self._flat.load_named(tensors)

    def without_gradient(self, votes: np.ndarray, f: int) -> list[int]:
        """Parameters, by index, that the votes give no gradient to; see FlatModel.without_gradient."""
        return self._flat.without_gradient(votes, f)

    def apply(self, update: Any, buffers: Any, without: Iterable[int] = (), *, remember: bool = False) -> None:
        """One optimizer step along `update`, (d,), and the agreed `buffers`, (b,); arrays or tensors.

        Args:
            update, buffers: of the step.
            without: parameters, by index, that have no gradient: the optimizer leaves them alone.
            remember: whether to keep the update as `previous`.
        """
        self._flat.gradient.copy_(torch.as_tensor(update))
        self._flat.attach_gradient(without)
        self._optimizer.step()
        self._flat.attach_gradient()
        if self.b:
            self._flat.write(self.d, torch.as_tensor(buffers))
        self._schedule.step()
        self.previous = update if remember else None

    def evaluate(self) -> dict[str, float]:
        """The task's metrics on its test data, of the model in evaluation mode; changes nothing.

        Raises:
            TaskError: the task's `evaluate` failed, or returned no numbers with a loss among them.
        """
        with preserved(self._flat):
            self._flat.module.eval()
            with users_code("the task's evaluate"):
                found = self._task.evaluate(self._flat.module)
        return as_metrics(found)

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
        self._flat.write(0, state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        previous = state["previous"]
        if previous is not None:
            self.previous = previous.numpy() if self.device.type == "cpu" else previous.to(self.device)


def create_optimizer(name: str, parameters: list[torch.Tensor], arguments: dict[str, Any]) -> torch.optim.Optimizer:
    """The optimizer `name` of torch.optim.

    Args:
        name: of the class.
        parameters: what it updates.
        arguments: the others of the class, lr among them.

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
    except Exception as error:  # torch checks few arguments, and the others fail in use as they may
        raise ValueError(f"optimizer: {name}: {error or type(error).__name__}") from None
