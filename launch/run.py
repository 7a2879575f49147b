"""The training of one run: steps, with metrics, evaluations and checkpoints between them."""

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

from detox.config import Config
from detox.launch.console import Reporter
from detox.launch.keep import Keeper
from detox.launch.scores import EvaluationError, Scores, evaluate
from detox.launch.state import State
from detox.launch.summary import summary_of, votes_of
from detox.launch.tally import NONFINITE, Interval, Tally
from detox.ps.folder import RunFolder
from detox.ps.model import GlobalModel
from detox.ps.server import Server
from detox.ps.step import ServerError
from detox.tasks import TaskError

_IDLE_AT_MOST = 20
"""Steps in a row without an update, after which a run has failed; or all, where it has fewer."""


class Run:
    """The training of one run: steps, with metrics, evaluations and checkpoints between them.

    Args:
        config: the resolved config.
        folder: where metrics, checkpoints and summary go; this job's alone.
        reporter: the terminal.
        server: makes the steps.
        model: the server's, for its evaluations.
        callback: told of each line of metrics.jsonl.
        library: name -> version of what carries the messages.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        reporter: Reporter,
        server: Server,
        model: GlobalModel,
        library: Mapping[str, str],
        callback: Callable[[int, Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._config = config
        self._folder = folder
        self._reporter = reporter
        self._server = server
        self._model = model
        self._callback = callback
        self._library = library
        self._tally = Tally()
        self._idle_at_most = min(_IDLE_AT_MOST, config.steps)
        self._step = self._saved = 0  # the newest, and the newest of which there is a checkpoint
        self._keeper = Keeper(folder, model, config.create_best())
        self._state = State(config, server, model, self._tally, self._keeper.best)

    def resume(self, checkpoint: tuple[int, dict[str, Any]] | None) -> int:
        """Restores a checkpoint if there is one; returns the first step to make.

        Raises:
            CheckpointError: it is of another model, or of another version.
        """
        if checkpoint is None:
            return 1
        step, state = checkpoint
        self._state.restore(step, state)
        self._reporter.say(f"resumed after step {step}")
        for sentence in self._state.unlike(state):
            self._reporter.warn(sentence)
        return step + 1

    def train(self, first: int) -> bool:
        """All steps from `first`, then a checkpoint; then the summary, or False if the server was told to stop.

        However it ends, the newest weights are in the folder.

        Raises:
            EvaluationError: the last evaluation failed; of the last step there is a checkpoint.
            TaskError, ServerError: step after step made no update, for gradients with NaN or for want of votes; there
                is a checkpoint. Or no worker is left.
        """
        config, interval = self._config, Interval(self._server.outcomes)
        self._step = self._saved = first - 1
        if self._had_enough:  # and was killed before it was done
            self._server.stop()
        try:
            self._make_steps(first, interval)
        except BaseException as error:
            self._rescue(error)
            raise
        step = self._step
        if step >= first:
            self._folder.amend_metrics(step, {"votes": votes_of(self._server)})  # all accounts are settled
        if step > self._saved:
            self._save()
        if self._stuck(step):
            kind = TaskError if NONFINITE in self._tally.why else ServerError  # of which only one may pass by itself
            raise kind(f"the last {self._tally.idle} steps made no update; step {step}: {self._tally.why}")
        if step < config.steps and not self._had_enough:
            held = f"after step {step}, of which there is a checkpoint" if step else "before the first step was made"
            self._reporter.say(f"interrupted {held}")
            return False
        if step < config.steps:
            best = self._keeper.best
            self._reporter.say(
                f"ends after step {step}: {best.since} evaluations no better than that of step {best.step}"
            )
        scores = self._keeper.scores(step) or self._last_evaluation()
        self._save()  # the evaluation too, for a longer run that goes on from here
        if interval.steps:
            self._report(step, scores, interval)
        best, digest = self._keeper.best, self._model.digest
        summary = summary_of(config, step, scores, self._tally, best, self._server, digest, self._library)
        self._folder.finish(summary)
        return True

    def _last_evaluation(self) -> Scores:
        try:
            scores = self._evaluate()
        except EvaluationError as error:
            kept = "the training is kept, and the same command makes only the evaluation again"
            raise EvaluationError(f"{error}; {kept} (with --accept-changes where the task was mended)") from error
        self._folder.amend_metrics(self._step, scores)
        self._tell(self._step, scores)
        return scores

    def _make_steps(self, first: int, interval: Interval) -> None:
        """The steps from `first`, as far as the server makes them, with what falls between them."""
        config = self._config
        scores: Scores = {}
        for record in self._server.train(first, config.steps):
            step = self._step = record.step
            if step == first:
                self._folder.discard_previous()
            self._tally.count(record, self._server.ledger.nonfinite)
            for sentence in record.warnings:
                self._reporter.warn(f"step {step}: {sentence}")
            interval.count(record)
            line: dict[str, Any] = {"step": step, "seconds": record.seconds, "bytes_in": record.bytes_in}
            line |= {"waits": record.waits, "computing": record.computing, "votes": votes_of(self._server)}
            if config.copies == "lazy":
                line["copies"] = record.copies
            if record.skipped:
                line["skipped"] = record.skipped
                if self._tally.idle == 1:
                    self._reporter.warn(f"step {step} made no update: {self._tally.why}")
            if self._stuck(step):
                self._server.stop()
            if step % config.eval_every == 0 and step < config.steps:
                scores = self._try_evaluation(step)
                line |= scores
            self._folder.append_metrics(line)
            self._tell(step, line)
            self._reporter.advance(step)
            if self._had_enough:
                self._server.stop()
            if step % config.log_every == 0 and step < config.steps:
                self._report(step, scores, interval)
                scores = {}
                interval.restart(self._server.outcomes)
            if step % config.checkpoint_every == 0 and step < config.steps:
                self._server.settle_accounts()
                self._save()

    def _tell(self, step: int, line: Mapping[str, Any]) -> None:
        if self._callback is not None:
            self._callback(step, line)

    def _save(self) -> None:
        """A checkpoint of the newest step, and its weights."""
        self._keeper.save(self._step)  # first: a best that is only in the checkpoint would be lost
        self._folder.save_checkpoint(self._step, self._state.read(self._step))
        self._folder.write_status("running")
        self._saved = self._step

    def _rescue(self, error: BaseException) -> None:
        """Leaves the newest weights of a training that has failed; between two steps, as where all ranks are lost, a
        checkpoint too.
        """
        if self._step > self._saved:
            with contextlib.suppress(Exception):  # the error that led here is the one to tell
                if isinstance(error, ServerError):
                    self._server.settle_accounts()
                    self._save()
                else:
                    self._keeper.save(self._step)

    def _evaluate(self) -> Scores:
        """The scores of the newest step, by which it may be the best."""
        scores = evaluate(self._model)
        if self._keeper.evaluated(self._step, scores):  # and not again, after a restart
            self._model.evaluated(math.inf if scores["loss"] is None else scores["loss"])
        return scores

    @property
    def _had_enough(self) -> bool:
        """Whether the run is over because it got no better for so long."""
        return 0 < self._config.patience <= self._keeper.best.since

    def _try_evaluation(self, step: int) -> Scores:
        """The scores after a step that is not the last; none where the task fails, for the training can go on."""
        try:
            return self._evaluate()
        except EvaluationError as error:
            self._reporter.warn(f"step {step}: {error}; the training goes on")
            return {}

    def _stuck(self, step: int) -> bool:
        """Whether no further step is worth making, after `step`.

        A model that has learned, and then diverged under attack, is a result: of a defence that does not hold.
        """
        diverged = self._config.q > 0 and NONFINITE in self._tally.why and self._tally.idle < step
        return self._tally.idle >= self._idle_at_most and not diverged

    def _report(self, step: int, scores: Scores, interval: Interval) -> None:
        """The line on the terminal."""
        self._reporter.interval(step, scores, *interval.read(self._server.outcomes))
        if interval.skipped:
            self._reporter.warn(
                f"{len(interval.skipped)} of the last {interval.steps} steps made no update; the last one: "
                f"{interval.skipped[-1]}"
            )
