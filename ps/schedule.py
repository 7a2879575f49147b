"""The learning rate over the updates: a schedule of torch.optim.lr_scheduler, with a warm-up in front."""

import copy
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import lr_scheduler

_SHORT = {"step": "MultiStepLR", "cosine": "CosineAnnealingLR"}
_LENGTHS = {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps"}  # what is the length of the run, unless given
_TAKE_OBJECTS = {"LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler"}  # functions, or other schedules
_BASES = {"LRScheduler", "_LRScheduler"}


class Schedule:
    """What sets the learning rate of each update.

    Args:
        optimizer: of the updates.
        name: "constant", "step" (MultiStepLR), "cosine" (CosineAnnealingLR), or another class of
            torch.optim.lr_scheduler.
        options: arguments of the class.
        steps: length of the run.
        warmup: updates of which the t-th takes t / warmup of the learning rate.

    Attributes:
        depends_on_steps: whether a run of another length has another learning rate in its steps.

    Raises:
        ValueError: unknown, or it does not take these arguments.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, name: str, options: dict[str, Any], *, steps: int, warmup: int = 0
    ) -> None:
        self._optimizer = optimizer
        self._warmup = warmup
        self._steps = steps
        self._updates = 0
        kind, arguments, self.depends_on_steps = _resolve(name, options, steps)
        self._schedule = None if kind is None else _create(kind, optimizer, arguments, steps)
        self._at_start = [_settings(group) for group in optimizer.param_groups]

    @contextmanager
    def update(self) -> Iterator[None]:
        """Around an update, which takes the learning rate of its turn."""
        groups, part = self._optimizer.param_groups, (self._updates + 1) / (self._warmup or 1)
        rates = [group["lr"] for group in groups]
        if part < 1:
            for group in groups:
                group["lr"] = group["lr"] * part
        yield
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        self._updates += 1
        if self._schedule is not None and not isinstance(self._schedule, lr_scheduler.ReduceLROnPlateau):
            self._schedule.step()

    @property
    def settings(self) -> dict[str, Any]:
        """Of the optimizer, in the next update: of its one group."""
        (group,), part = self._optimizer.param_groups, (self._updates + 1) / (self._warmup or 1)
        return _settings(group) | {"lr": group["lr"] * part if part < 1 else group["lr"]}

    def evaluated(self, loss: float) -> None:
        """Tells ReduceLROnPlateau, which goes by evaluations, of one."""
        if isinstance(self._schedule, lr_scheduler.ReduceLROnPlateau):
            self._schedule.step(loss)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs beside the optimizer's state."""
        inner = None if self._schedule is None else self._schedule.state_dict()
        return {"steps": self._steps, "updates": self._updates, "schedule": inner}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state, behind the optimizer's; a run that has become longer goes on where its schedule is."""
        self._updates = state["updates"]
        if self._schedule is None:
            return
        if state["steps"] == self._steps or not self.depends_on_steps:
            self._schedule.load_state_dict(state["schedule"])
            return
        for group, settings in zip(self._optimizer.param_groups, self._at_start, strict=True):
            group.update(settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no update was made in between
            for _ in range(self._updates):
                self._schedule.step()


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def schedules() -> dict[str, type[lr_scheduler.LRScheduler]]:
    """The classes of torch.optim.lr_scheduler that a config can name, by these names."""
    short = {long: name for name, long in _SHORT.items()}
    return {
        short.get(name, name): kind
        for name, kind in vars(lr_scheduler).items()
        if isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler)
        if name not in _TAKE_OBJECTS | _BASES
    }


def _resolve(name: str, options: dict[str, Any], steps: int) -> tuple[Any, dict[str, Any], bool]:
    """The class, None for a constant rate; its arguments; and whether one of them is the length of the run."""
    if name == "constant":
        if options:
            raise ValueError(f'optimizer.schedule_options: schedule = "constant" takes no {min(options)}')
        return None, {}, False
    if short := next((short for short, long in _SHORT.items() if long == name), None):
        raise ValueError(f'optimizer.schedule: for {name} write "{short}"')
    known = schedules()
    kind = known.get(name)
    if kind is None:
        there = sorted([*known, "constant"])
        raise ValueError(f"optimizer.schedule: there is no {name}; there are {', '.join(there)}")
    length = _LENGTHS.get(kind.__name__, "")
    open_ = bool(length) and not (options.keys() & {length, "epochs"})
    arguments = {**options, length: steps} if open_ else dict(options)
    taken = set(inspect.signature(kind).parameters) - {"optimizer", "last_epoch", "verbose"}
    if unknown := sorted(options.keys() - taken):
        raise ValueError(
            f"optimizer.schedule_options: {name} takes no {unknown[0]}; it takes {', '.join(sorted(taken))}"
        )
    return kind, arguments, open_


def _create(kind: Any, optimizer: torch.optim.Optimizer, arguments: dict[str, Any], steps: int) -> Any:
    """The schedule; a toy of the optimizer tries it first, for torch checks few arguments before they are used."""
    toy = copy.copy(optimizer)
    toy.param_groups = [{**_settings(group), "params": [torch.zeros(1)]} for group in optimizer.param_groups]
    try:
        tried = kind(toy, **arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(2):
                tried.step(*([1.0] if kind is lr_scheduler.ReduceLROnPlateau else []))
        if (length := getattr(tried, "total_steps", steps)) < steps:
            raise ValueError(f"it is over after {length} steps, and the run has {steps}")
        return kind(optimizer, **arguments)
    except Exception as error:
        said = error or type(error).__name__
        raise ValueError(f"optimizer.schedule_options: {kind.__name__}: {said}") from None
