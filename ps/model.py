"""The model that the PS owns: only here are weights changed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from detox.aggregators.stored import Owners
from detox.ps.agreement import agree
from detox.ps.optimizers import create_optimizer
from detox.ps.schedule import Schedule
from detox.tasks import FlatModel, Task
from detox.tasks.batched import File
from detox.tasks.computing import Computing
from detox.tasks.devices import to_host
from detox.tasks.flat import Admit
from detox.tasks.metrics import as_metrics
from detox.tasks.named import named_tensors
from detox.tasks.preserve import preserved
from detox.tasks.users import users_code
from detox.wire import digest_of

if TYPE_CHECKING:
    from detox.ps.servers import Servers
    from detox.ps.share import OwnShare


class GlobalModel:
    """The task's model with its optimizer and schedule, on flat vectors.

    Args:
        task: makes the model and evaluates it.
        seed: of the initial weights.
        steps: length of the run, on which schedules may depend.
        optimizer: class name in torch.optim.
        arguments: of the optimizer, lr among them.
        schedule, schedule_options, warmup: of the learning rate, see Schedule.
        clip_norm: to which the norm of an update is clipped before the optimizer takes it; None: none is.
        ema: decay of a running mean of the weights, which is evaluated and kept in their place; 0: there is none.
        computing: see Computing; None: as it is.
        admit: see FlatModel.

    Attributes:
        d, b, words: entries of the parameters, and of what travels with them; see FlatModel.
        computing: how gradients are computed.
        previous: (d,), the last update, kept where the aggregation starts from it; numpy, or a tensor on a GPU.
        owners, servers: None: there is no other server.

    Raises:
        ValueError: unknown optimizer, or arguments that it does not take.
    """

    owners: Owners | None = None
    servers: "Servers | None" = None

    def __init__(
        self,
        task: Task,
        *,
        seed: int,
        steps: int,
        optimizer: str = "SGD",
        arguments: dict[str, Any] | None = None,
        schedule: str = "constant",
        schedule_options: dict[str, Any] | None = None,
        warmup: int = 0,
        clip_norm: float | None = None,
        ema: float = 0.0,
        computing: Computing | None = None,
        admit: Admit = lambda d, b: None,
    ) -> None:
        self._task = task
        self.computing = computing or Computing()
        self.previous: Any = None
        self._flat = FlatModel.build(task, seed, self.computing, admit)
        self.d, self.b, self.words = self._flat.d, self._flat.b, self._flat.words
        self._optimizer = create_optimizer(optimizer, self._flat.trained, arguments or {"lr": 0.1})
        self._schedule = Schedule(self._optimizer, schedule, schedule_options or {}, steps=steps, warmup=warmup)
        self._clip_norm = clip_norm
        self._ema = ema
        self._mean: torch.Tensor | None = None  # of the weights

    @property
    def weights(self) -> np.ndarray:
        """(d + b,) float32: parameters, then the buffers that travel with them. A copy where the model is on a GPU."""
        return to_host(self._flat.weights)

    @property
    def own(self) -> "GlobalModel | OwnShare":
        """What this server owns of it, which steps change: all."""
        return self

    @property
    def digest(self) -> str:
        """BLAKE3 of the bytes of parameters and floating-point buffers, in hexadecimal."""
        return digest_of(self.weights[: self.d + self.b - self.words]).hex()

    @property
    def layout(self) -> list[tuple[str, int]]:
        """Name and entries of each tensor in a vector of d + b entries, in order."""
        return self._flat.layout

    @property
    def module(self) -> torch.nn.Module:
        """The model."""
        return self._flat.module

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._flat.device

    def compute(self, indices: np.ndarray, seed: int) -> np.ndarray:
        """(d + b,) float32: what an honest worker sends for this file; see FlatModel.compute."""
        return self.compute_files([(indices, seed)])[0]

    @property
    def files_at_once(self) -> int:
        """See FlatModel."""
        return self._flat.files_at_once

    def compute_files(self, files: Sequence[File]) -> list[np.ndarray]:
        """What `compute` gives for each of the files; see FlatModel.compute_files."""
        return self._flat.compute_files(self._task, files)

    def compute_each(self, indices: np.ndarray, seed: int) -> np.ndarray:
        """See FlatModel."""
        return self._flat.compute_each(self._task, indices, seed)

    def compute_beside(self, other: np.ndarray, indices: np.ndarray, seed: int) -> np.ndarray:
        """What `compute` gives, computed as the last one of a call, behind another file."""
        others = [(other, seed + 1)] * (self.files_at_once - 1)
        return self.compute_files([*others, (indices, seed)])[-1]

    def load(self, weights: np.ndarray) -> None:
        """Copies in (d + b,) float32."""
        self._flat.load(weights)

    def agree(self, votes: Any, f: int) -> Any:
        """(b,), what the votes about buffers, (m, b), come to; see detox.ps.agreement."""
        return agree(votes, f, self._flat.exact, self.words)

    def named(self) -> dict[str, torch.Tensor]:
        """Copies on the CPU by the names of state_dict(): of the mean of the weights, where there is one."""
        with preserved(self._flat):
            self._take_mean()
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
        self._flat.gradient.write(torch.as_tensor(update))
        self._flat.gradient.attach(without)
        if self._clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._flat.trained, self._clip_norm)
        with self._schedule.update():
            self._optimizer.step()
        self._flat.gradient.attach()
        if self.b:
            self._flat.write(self.d, torch.as_tensor(buffers))
        if self._ema:
            self._add_to_mean()
        self.previous = update if remember else None

    def begin_update(self, kept: Sequence[int], f: int) -> None:
        """The servers aggregate the votes on these files, of which f may be bad."""

    def end_update(self) -> None:
        """All of them have made the step."""

    def evaluate(self) -> dict[str, float]:
        """The task's metrics on its test data, of the model in evaluation mode; changes nothing.

        Raises:
            TaskError: the task's `evaluate` failed, or returned no numbers with a loss among them.
        """
        with preserved(self._flat):
            self._take_mean()
            self._flat.module.eval()
            with users_code("the task's evaluate"):
                found = self._task.evaluate(self._flat.module)
        return as_metrics(found)

    def evaluated(self, loss: float) -> None:
        """Tells the schedule of an evaluation; a loss that is not finite is no progress."""
        self._schedule.evaluated(loss)

    @property
    def depends_on_steps(self) -> bool:
        """Whether a run of another length would have had another learning rate."""
        return self._schedule.depends_on_steps

    def _add_to_mean(self) -> None:
        """Of parameters; what has to agree beside them is that of the newest step."""
        weights = self._flat.weights.detach()
        if self._mean is None:
            self._mean = weights.clone()
        else:
            self._mean[: self.d].lerp_(weights[: self.d], 1 - self._ema)
            self._mean[self.d :].copy_(weights[self.d :])

    def _take_mean(self) -> None:
        """Makes the mean, if there is one, the weights."""
        if self._mean is not None:
            self._flat.write(0, self._mean)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs."""
        return {
            "weights": self._flat.weights.detach().cpu().clone(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state(),
            "mean": None if self._mean is None else self._mean.cpu().clone(),
            "previous": None if self.previous is None else torch.as_tensor(self.previous).cpu(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._flat.write(0, state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.restore(state["schedule"])
        self._mean = None if state["mean"] is None else state["mean"].to(self.device)
        previous = state["previous"]
        if previous is not None:
            self.previous = previous.numpy() if self.device.type == "cpu" else previous.to(self.device)
