"""The training of one run: steps, with metrics, evaluations and checkpoints between them."""

import math
import platform
from collections import Counter
from typing import Any

import numpy as np
import torch

from detox.launch.config import Config
from detox.launch.console import Reporter
from detox.ps.folder import RunFolder
from detox.ps.model import GlobalModel
from detox.ps.server import Server, StepRecord
from detox.ps.stopwatch import PARTS
from detox.ps.vote import Outcome
from detox.wire.transport import library

Scores = dict[str, float | None]


class Run:
    """The training of one run: steps, with metrics, evaluations and checkpoints between them."""

    def __init__(
        self, config: Config, folder: RunFolder, reporter: Reporter, server: Server, model: GlobalModel
    ) -> None:
        self._config = config
        self._folder = folder
        self._reporter = reporter
        self._server = server
        self._model = model
        self._seconds: Counter[str] = Counter()
        self._bytes_in = 0
        self._skipped = 0
        self._evaluated: tuple[int, Scores] = (-1, {})

    def resume(self, checkpoint: tuple[int, dict[str, Any]] | None) -> int:
        """Restores a checkpoint if there is one; returns the first step to make."""
        if checkpoint is None:
            return 1
        step, state = checkpoint
        self._model.restore(state["model"])
        self._server.ledger.restore(state["ledger"])
        self._server.quarantine.restore(state["quarantine"])
        torch.set_rng_state(state["random"])
        self._server.outcomes.update(state["outcomes"])
        self._seconds.update(state["seconds"])
        self._bytes_in, self._skipped = state["bytes_in"], state["skipped"]
        self._reporter.say(f"resumed after step {step}")
        if self._config.worker_momentum:
            self._reporter.warn(
                "worker_momentum starts from zero again: it was with the workers, and no checkpoint has it"
            )
        return step + 1

    def train(self, first: int) -> bool:
        """All steps from `first`, then the summary; or, if the server is told to stop, a checkpoint and False."""
        config, interval, step = self._config, _Interval(self._server.outcomes), first - 1
        saved = step
        scores: Scores = {}
        for record in self._server.train(first, config.steps):
            step = record.step
            self._count(record)
            for sentence in record.quarantined:
                self._reporter.warn(f"step {step}: {sentence}")
            interval.count(record)
            line: dict[str, Any] = {"step": step, "seconds": record.seconds, "bytes_in": record.bytes_in}
            if record.skipped:
                line["skipped"] = record.skipped
            if step % config.eval_every == 0 or step == config.steps:
                scores = self._evaluate(step)
                line |= scores
            self._folder.append_metrics(line)
            self._reporter.advance(step)
            if step % config.log_every == 0 or step == config.steps:
                self._reporter.interval(step, scores, *interval.read(self._server.outcomes))
                if interval.skipped:
                    self._reporter.warn(
                        f"{len(interval.skipped)} of the last {interval.steps} steps made no update; the last one: "
                        f"{interval.skipped[-1]}"
                    )
                scores, interval = {}, _Interval(self._server.outcomes)
            if step % config.checkpoint_every == 0 and step < config.steps:
                self._server.settle_accounts()
                self._folder.save_checkpoint(step, self._state())
                saved = step
        if self._server.stopping and step < config.steps:
            if step > saved:
                self._folder.save_checkpoint(step, self._state())
            held = f"after step {step}, of which there is a checkpoint" if step else "before the first step was made"
            self._reporter.say(f"interrupted {held}")
            return False
        self._folder.finish(self._summary())
        return True

    def _evaluate(self, step: int) -> Scores:
        """Loss and accuracy after that step, computed once; None where not finite, for which JSON has no number."""
        if self._evaluated[0] != step:
            scores = self._model.evaluate()
            self._evaluated = step, {name: score if math.isfinite(score) else None for name, score in scores.items()}
        return self._evaluated[1]

    def _count(self, record: StepRecord) -> None:
        self._seconds.update(record.seconds)
        self._bytes_in += record.bytes_in
        self._skipped += bool(record.skipped)

    def _state(self) -> dict[str, Any]:
        return {
            "model": self._model.state(),
            "ledger": self._server.ledger.state(),
            "quarantine": self._server.quarantine.state(),
            # Everything else that is random follows from seeds and the step; this is for a task of the user's.
            "random": torch.get_rng_state(),
            "outcomes": dict(self._server.outcomes),
            "seconds": dict(self._seconds),
            "bytes_in": self._bytes_in,
            "skipped": self._skipped,
        }

    def _summary(self) -> dict[str, Any]:
        config, ledger = self._config, self._server.ledger
        scores = self._evaluate(config.steps)
        mean = {name: self._seconds[name] / config.steps for name in PARTS}
        return {
            "name": config.name,
            "config_hash": config.digest,
            "steps": config.steps,
            "skipped_steps": self._skipped,
            "test_accuracy": scores["accuracy"],
            "test_loss": scores["loss"],
            "seconds_per_step": {"total": sum(mean.values()), **mean},
            "bytes_into_ps": self._bytes_in,
            "votes": {name: self._server.outcomes[name] for name in Outcome},
            "dissents": ledger.dissents(),
            "ledger": [dict(counts) for counts in ledger.counts],
            "hosts": ledger.host_of,
            "quarantined": {str(worker): since for worker, since in self._server.quarantine.out.items()},
            "weights_digest": self._model.digest,
            "versions": {
                "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__, **library(),
            },
        }  # fmt: skip


class _Interval:
    """Means of the steps between two lines on the terminal."""

    def __init__(self, outcomes: Counter[str]) -> None:
        self._before = outcomes.copy()
        self.steps = 0
        self.skipped: list[str] = []
        self._seconds: Counter[str] = Counter()
        self._bytes_in = 0

    def count(self, record: StepRecord) -> None:
        """Adds a step."""
        self.steps += 1
        self._seconds.update(record.seconds)
        self._bytes_in += record.bytes_in
        if record.skipped:
            self.skipped.append(record.skipped)

    def read(self, outcomes: Counter[str]) -> tuple[dict[str, float], float, Counter[str]]:
        """Mean seconds by part, mean bytes a step, and the votes counted since."""
        seconds = {name: self._seconds[name] / self.steps for name in PARTS}
        return seconds, self._bytes_in / self.steps, outcomes - self._before
