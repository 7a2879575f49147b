"""What a checkpoint holds of a run, with which another job goes on as if there had been no break."""

from collections.abc import Iterator
from typing import Any

import torch

from detox.config import Config
from detox.launch.tally import Tally
from detox.ps.best import Best
from detox.ps.folder import CheckpointError
from detox.ps.model import GlobalModel
from detox.ps.server import Server


class State:
    """What a checkpoint holds of a run: that of the server, what its steps have come to, and its best evaluation.

    Args:
        config: the resolved config.
        server: makes the steps.
        model: the server's.
        tally: of all steps so far.
        best: tells the best evaluation.
    """

    def __init__(self, config: Config, server: Server, model: GlobalModel, tally: Tally, best: Best) -> None:
        self._config = config
        self._server = server
        self._model = model
        self._tally = tally
        self._best = best

    def read(self, step: int) -> dict[str, Any]:
        """The state as it is after `step`."""
        return {
            **self._server.state(),
            # Everything else that is random follows from seeds and the step; this is for a task of the user's.
            "random": torch.get_rng_state(),
            **self._tally.state(),
            "best": self._best.state(),
            "undisputed": self._server.ledger.undisputed(step),
        }

    def restore(self, step: int, state: dict[str, Any]) -> None:
        """Makes it what it was after `step`.

        Raises:
            CheckpointError: it is of another model, or of another version.
        """
        try:
            held, wanted = len(state["model"]["weights"]), self._model.d + self._model.b
            if held != wanted:
                raise CheckpointError(
                    f"the checkpoint of step {step} is of a model with {held} parameters and buffers, and the task's "
                    f"has {wanted}: the model has changed; --no-resume starts over"
                )
            self._server.restore(state)
            torch.set_rng_state(state["random"])
            self._tally.restore(state, self._server.ledger.nonfinite)
            self._best.restore(state["best"])
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"the checkpoint of step {step} does not fit, as of another version of model, optimizer or package "
                f"({type(error).__name__}: {error}); --no-resume starts over"
            ) from None

    def unlike(self, state: dict[str, Any]) -> Iterator[str]:
        """In what a run that goes on with `state` is unlike one that was never broken off; sentences."""
        before = state["model"]["schedule"]["steps"]
        if before != self._config.steps and self._model.depends_on_steps:
            yield (
                f'optimizer.schedule = "{self._config.optimizer.schedule}" depends on steps: the learning rate is that '
                f"of a run of {self._config.steps} from here on, and was that of one of {before} until now"
            )
        if self._config.worker_momentum:
            yield "worker_momentum starts from zero again: it was with the workers, and no checkpoint has it"
