"""How a run learns: the optimizer of the update at the PS, and the data that files draw from."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from detox.config.fields import ConfigError, Count, Fraction, Natural, Option, Positive, Section, Several
from detox.tasks.computing import Computing
from detox.tasks.samples import Files
from detox.tasks.shards import Split, cut

if TYPE_CHECKING:
    from detox.ps.model import GlobalModel
    from detox.tasks import Task


class OptimizerConfig(Section):
    """The update at the PS: any optimizer of torch.optim, on the model's own parameters."""

    name: str = "SGD"
    """Class in torch.optim."""
    lr: Positive = 0.1
    """Learning rate at the start."""
    momentum: Fraction = 0.0
    """Momentum, for an optimizer that has one; 0 is not passed on."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay, as the optimizer defines it; 0 is not passed on."""
    options: dict[str, Option] = Field(default={})
    """Further arguments of the optimizer, as torch.optim has them: nesterov = true, betas = [0.9, 0.98]."""
    schedule: str = "constant"
    """Learning rate over the updates: constant; step, times gamma at each milestone; cosine, down to 0 at the last; or
    any other class of torch.optim.lr_scheduler that needs no function: OneCycleLR, ExponentialLR, ReduceLROnPlateau
    (which goes by the loss of each evaluation), ..."""
    schedule_options: dict[str, Option] = Field(default={})
    """Arguments of the schedule, as torch has them: eta_min = 0.001. The length is `steps` unless given."""
    milestones: Annotated[tuple[Count, ...], Several] = ()
    """Steps at which schedule = "step" multiplies the learning rate by gamma."""
    gamma: Positive = 0.1
    """Factor of schedule = "step"."""
    warmup: Natural = 0
    """Updates over which the learning rate rises linearly: the t-th takes t / warmup of what the schedule says."""
    clip_norm: Positive | None = None
    """Norm to which a greater update, as it comes from the aggregation, is scaled down; unset: none is."""
    ema: Fraction = 0.0
    """Decay of a running mean of the weights over the updates, which is evaluated, and kept in model.* and best.*, in
    place of the newest; 0: there is none."""

    def why_not(self) -> str:
        """Which fields do not go together; empty where all do."""
        for name in ("lr", "momentum", "weight_decay"):
            if name in self.options and (given := getattr(self, name)):
                return f"optimizer.options.{name}: there is optimizer.{name} = {given} beside it; give one"
        if (self.schedule == "step") != bool(self.milestones):
            return (
                f'optimizer.milestones = {list(self.milestones)}, optimizer.schedule = "{self.schedule}": '
                'milestones go with schedule = "step", and it needs them'
            )
        if self.schedule == "step" and (twice := self.schedule_options.keys() & {"milestones", "gamma"}):
            return f"optimizer.schedule_options.{min(twice)}: there is optimizer.{min(twice)}"
        if self.schedule == "cosine" and "T_max" in self.schedule_options:
            return "optimizer.schedule_options.T_max: the length of cosine is steps"
        return ""

    @property
    def arguments(self) -> dict[str, Any]:
        """What the class in torch.optim is given."""
        optional = {"momentum": self.momentum, "weight_decay": self.weight_decay}
        return {"lr": self.lr, **{name: value for name, value in optional.items() if value}, **self.options}

    def create(
        self,
        task: "Task",
        seed: int,
        steps: int,
        computing: Computing | None = None,
        servers: int = 1,
        admit: Callable[[int, int], object] = lambda d, b: None,
    ) -> "GlobalModel":
        """The PS's model of a task with this optimizer, for a run of so many steps.

        Args:
            task: makes the model.
            seed: of the initial weights.
            steps: length of the run.
            computing: how gradients are computed.
            servers: that share the model.
            admit: see FlatModel.

        Raises:
            ConfigError: the optimizer does not exist, or does not take its arguments.
        """
        from detox.ps.model import GlobalModel  # which imports torch; commands that only start a job do not wait for it
        from detox.ps.shared import SharedModel

        stepped = {"milestones": list(self.milestones), "gamma": self.gamma} if self.schedule == "step" else {}
        kind = GlobalModel if servers == 1 else SharedModel
        try:
            model = kind(
                task,
                seed=seed,
                steps=steps,
                optimizer=self.name,
                arguments=self.arguments,
                schedule=self.schedule,
                schedule_options=self.schedule_options | stepped,
                warmup=self.warmup,
                clip_norm=self.clip_norm,
                ema=self.ema,
                computing=computing,
                admit=admit,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return model


class DataConfig(Section):
    """Data heterogeneity: which training samples a file draws from."""

    split: Split = "iid"
    """iid: all of them. dirichlet, label: file j has a shard of its own, p/r shards of equal size. dirichlet: label
    proportions drawn from Dirichlet(alpha). label: the samples sorted by label, cut into pieces. similarity: a share
    of the samples is dealt to all, the rest as label."""
    alpha: Annotated[float, Field(gt=0, le=1e6)] = 0.5
    """Concentration of dirichlet: near 0 one label per file; the greater, the more alike."""
    similarity: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the samples that split = "similarity" deals to all files alike."""

    def create(self, task: "Task", name: str, count: int, size: int, seed: int) -> Files:
        """The samples of each step: `count` files of `size` samples, from shards where `split` asks for them.

        Raises:
            ConfigError: the task called `name` has no labels to split by, or fewer samples than there are files.
        """
        if self.split == "iid":
            return Files(count, size, task.train_size, seed)
        labels = task.train_labels
        if not isinstance(labels, np.ndarray) or labels.shape != (task.train_size,) or labels.dtype.kind not in "iu":
            raise ConfigError(
                f'data.split = "{self.split}" needs labels: task {name} has to set train_labels to those of its '
                f"training samples, an integer array of shape ({task.train_size},)"
            )
        if count > task.train_size:
            raise ConfigError(
                f'data.split = "{self.split}": {task.train_size} training samples cannot be cut into {count} shards'
            )
        strength = self.similarity if self.split == "similarity" else self.alpha
        shards = cut(labels, count, self.split, strength, seed)
        return Files(count, size, task.train_size, seed, tuple(shards))
