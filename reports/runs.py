"""The folders of runs from Python: `detox.Run` and `detox.runs`."""

import glob
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detox.config import Config
from detox.config.layers import flat
from detox.errors import UserError
from detox.ps.folder import RunFolder
from detox.reports.log import Log
from detox.reports.records import RunError, read_run, read_steps, read_summary

if TYPE_CHECKING:
    from torch import nn

    from detox.tasks import Task


WEIGHTS = {
    "last": ("model.safetensors", "weights come with its first checkpoint"),
    "best": ("best.safetensors", "it comes with the first checkpoint behind an evaluation"),
}
"""The weights that a run leaves: the file, and when it is there."""


def weights_in(folder: Path, which: str) -> Path:
    """The file of the weights that a run has left.

    Raises:
        RunError: there is none, or `which` is none of WEIGHTS.
    """
    if which not in WEIGHTS:
        raise RunError(f"which = {which!r}; known: {', '.join(WEIGHTS)}")
    name, since = WEIGHTS[which]
    if not (folder / name).is_file():
        raise RunError(f"there is no {folder / name}: {since}")
    return folder / name


class Run:
    """The folder of a run, which may be going on: what is in it is read anew each time, but for the config.

    Whatever reads a file raises RunError where there is none, or it is not a run's.

    Args:
        path: of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self._folder = RunFolder(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}): {self.status or 'not started'}"

    @property
    def status(self) -> str:
        """running (also of a job that was killed), interrupted, failed or finished; empty: not started."""
        return "finished" if self._folder.done else str(self._folder.read_status().get("status", ""))

    @cached_property
    def config(self) -> Config:
        """The resolved config, without its secret seed."""
        return read_run(self.path)

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json, which a finished run has."""
        return read_summary(self._folder, self.config)

    @property
    def metrics(self) -> Any:
        """A row per step: seconds by part as `seconds.aggregate`, bytes_in, at times the scores.

        A pandas DataFrame with the steps as its index where pandas is installed, else a list of dicts with a `step`.
        """
        lines = [flat(line) for line in read_steps(self._folder.metrics, self.config, timed=True)]
        try:
            from pandas import DataFrame
        except ImportError:
            return lines
        return DataFrame(lines, columns=None if lines else ["step"]).set_index("step")

    def model(self, task: "Task | None" = None, which: str = "last") -> "nn.Module":
        """The torch module with the weights of the run, in evaluation mode, on the task's device.

        Args:
            task: makes the module; None: the config's, for a module of your own in the current folder.
            which: last, or best, by the score that the config says.

        Raises:
            UserError: there are no such weights, or they are another model's; the task cannot be had.
        """
        import torch

        from detox.ps.weights import read_weights
        from detox.tasks.named import load_named

        file, config = weights_in(self.path, which), self.config
        if task is None:
            task = config.create_task()
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and not used
            module = task.build_model()
        try:
            load_named(module, read_weights(file))
        except ValueError as error:
            raise (
                error if isinstance(error, UserError) else RunError(f"{file} is of another model: it {error}")
            ) from None
        return module.eval()

    def blame(self, q: int | None = None) -> Log:
        """What the ledger says of each worker, as `detox-ps blame` does: `findings`, the worst first.

        Args:
            q: Byzantine workers to assume, at most; None: the config's, or what its aggregator.f tolerates.
        """
        return Log.read(self.path, q)


def runs(pattern: str | Path = "runs/*") -> list[Run]:
    """The runs in the folders that match a pattern of the shell's, by name; what else matches is left out."""
    found = glob.glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207  # Path.glob takes no absolute one
    return [Run(path) for path in sorted(found) if Path(path, "config.toml").is_file()]
