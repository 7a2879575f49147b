"""The run around a real server, whose workers are the test's: when it writes checkpoints, and what it says."""

import json
import shutil
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import Line, Workers
from safetensors.torch import load_file

from detox.aggregators import create_hierarchy
from detox.assignment import SCHEMES
from detox.config import Config
from detox.launch.run import Run
from detox.launch.scores import EvaluationError
from detox.ps.aggregation import Aggregation
from detox.ps.ballots import VOTES
from detox.ps.folder import CheckpointError, RunFolder
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.server import Server
from detox.ps.step import ServerError
from detox.ps.weights import read_facts
from detox.tasks import FlatModel, TaskError
from detox.tasks.samples import Files


class Scored(Line):
    """Evaluates to what it is told, one thing after the other; raises what is an exception."""

    def __init__(self, *answers):
        self.answers = answers
        self.evaluations = 0

    def evaluate(self, model):
        self.evaluations += 1
        answer = self.answers[self.evaluations - 1]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def accuracies(*scores):
    """A task with these, and with how often it was evaluated as its loss."""
    return Scored(*({"accuracy": score, "loss": float(i)} for i, score in enumerate(scores, start=1)))


class Asked(Workers):
    """Two workers, of which each has a file of its own; in the steps of `wrong` they send what `sends` makes of it."""

    def __init__(self, wrong, sends):
        super().__init__([1, 2])
        self.wrong, self.sends = wrong, sends

    def vector(self, header):
        honest = self.honest(header)
        return self.sends(honest) if header.step in self.wrong else honest


class Killed(RunFolder):
    """A run's folder, of a run that is killed right after the checkpoint of a step."""

    def __init__(self, path, step):
        super().__init__(path, checkpoints_kept=9)
        self._step = step

    def save_checkpoint(self, step, state):
        super().save_checkpoint(step, state)
        if step == self._step:
            raise KeyboardInterrupt


class Made:
    """A run of a real server in a folder, which it goes on with where there is a checkpoint.

    Args:
        folder: of the run.
        task: evaluates; the workers' gradients are the test's.
        silent: steps in which no worker answers.
        nan: steps in which all send NaN.
        killed: the step after whose checkpoint the run is killed.
        callback: told of each line of metrics.jsonl, and may stop the server, kill its ranks, or fail.
        fields: of the config.
    """

    def __init__(self, folder, task, silent=(), nan=(), killed=None, callback=None, **fields):
        self.folder = Killed(folder, killed)
        self.folder.create("")
        config = Config(**{"p": 2, "r": 1, "eval_every": 100, "groups": "fixed", "steps": 4, **fields})
        self.model = GlobalModel(task, seed=0, steps=config.steps, arguments={"lr": 1.0})
        self.reporter = Reporter()
        self.workers = Asked(silent or nan, (lambda _: None) if silent else lambda honest: honest * np.nan)
        scheme = SCHEMES["fixed"](1, 0)
        self.server = Server(
            self.workers.session, self.workers.ranks, self.model, self.workers.codec,
            files=Files(2, 4, 1000, 0), scheme=scheme, create_ballot=VOTES["digest"],
            aggregation=Aggregation(create_hierarchy("mean"), scheme, 0, 0),
            ledger=Ledger(self.folder.ledger, self.workers.ranks, {}), quarantine=config.create_quarantine(),
            q=config.q, on_tie="drop", deadline=0.3, fetch_deadline=0.05,
        )  # fmt: skip
        self.run = Run(config, self.folder, self.reporter, self.server, self.model, {}, callback)

    def train(self):
        checkpoint = self.folder.load_checkpoint(pytest.fail)
        try:
            return self.run.train(self.run.resume(checkpoint))
        finally:
            self.server.ledger.close()

    @property
    def checkpoint(self):
        return self.folder.load_checkpoint(pytest.fail)


SCORE = {"loss": 1.0}


class Reporter:
    def __init__(self):
        self.said = []

    def say(self, line):
        self.said.append(line)

    warn = say

    def advance(self, step):
        pass

    def interval(self, *_):
        pass


@pytest.mark.parametrize(
    ("steps", "checkpoint", "said"),
    [
        (0, [], "interrupted before the first step was made"),
        (3, [3], "interrupted after step 3, of which there is a checkpoint"),
        (4, [4], "interrupted after step 4, of which there is a checkpoint"),
        (5, [4, 5], "interrupted after step 5, of which there is a checkpoint"),
    ],
)
def test_an_interrupted_run_keeps_one_checkpoint_of_its_last_step_and_says_so(tmp_path, steps, checkpoint, said):
    def stop(step, line):
        if step == steps:
            made.server.stop()

    made = Made(tmp_path / "run", Scored(), callback=stop, steps=100, checkpoint_every=4)
    if not steps:
        made.server.stop()
    assert not made.train()
    found = sorted((tmp_path / "run" / "checkpoints").glob("*.pt"))
    assert [int(path.stem.split("-")[1]) for path in found] == checkpoint
    assert made.reporter.said == [said]


def test_the_summary_repeats_the_last_evaluation_and_does_not_make_another(tmp_path):
    task = Scored(*[{"accuracy": 0.5, "loss": float("inf")}] * 2)
    made = Made(tmp_path / "run", task, eval_every=2)
    assert made.train()
    assert task.evaluations == 2
    summary = made.folder.summary()
    assert (summary["test_accuracy"], summary["test_loss"]) == (0.5, None)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (KeyError("mae"), "KeyError: 'mae', in .*test_run.py:"),
        (SystemExit(3), r"evaluate called sys\.exit\(3\)"),
        ({"accuracy": 0.5}, 'return a dict with a "loss", not '),
        (None, "not None"),
        ({"loss": "low"}, "returned loss = 'low', a str; a number is needed"),
        ({"loss": np.zeros(3)}, "returned loss = .*a ndarray"),
        ({"loss": 1.0, "step": 3}, "a score named 'step'"),
        ({"loss": 1.0, 3: 3}, "a score named 3"),
    ],
)
def test_a_last_evaluation_that_fails_loses_no_training_and_alone_is_made_again(tmp_path, answer, words):
    good = {"loss": 0.25, "accuracy": 1}
    made = Made(tmp_path / "run", Scored(good, answer), steps=3, eval_every=2)
    with pytest.raises(EvaluationError, match=words):
        made.train()
    assert not made.folder.done
    assert made.checkpoint[0] == 3
    again = Made(tmp_path / "run", Scored(good), steps=3, eval_every=2)
    assert again.train()
    assert not again.workers.work
    lines = [json.loads(line) for line in again.folder.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert [line.get("loss") for line in lines] == [None, 0.25, 0.25]
    assert again.folder.summary()["test_loss"] == 0.25


def test_a_callback_is_told_of_each_step_and_of_the_scores_at_the_end(tmp_path):
    told = []
    made = Made(tmp_path / "run", Scored(SCORE, SCORE), callback=lambda *what: told.append(what), steps=3, eval_every=2)
    assert made.train()
    assert [(step, line.get("loss")) for step, line in told] == [(1, None), (2, 1), (3, None), (3, 1)]


@pytest.mark.parametrize(
    ("steps", "silent", "stops"),
    [
        (100, range(1, 101), 20),
        (100, range(31, 101), 50),
        (100, [*range(5, 24), *range(25, 44), *range(82, 101)], None),
        (7, range(1, 8), 7),
        (7, range(2, 8), None),
        (1, [1], 1),
    ],
)
def test_a_run_without_an_update_for_twenty_steps_or_at_all_stops_as_failed(tmp_path, steps, silent, stops):
    why = "0 of 2 groups have a vote: "
    made = Made(tmp_path / "run", Scored(SCORE), silent, steps=steps)
    if stops is None:
        assert made.train()
        assert sum(f"made no update: {why}" in line for line in made.reporter.said) >= 1
        return
    with pytest.raises(ServerError, match=f"the last {min(20, steps)} steps made no update; step {stops}: {why}"):
        made.train()
    assert made.reporter.said[0].startswith(f"step {silent[0]} made no update: {why}")
    assert not made.folder.done
    step, state = made.checkpoint
    assert step == stops
    assert state["idle"][0] == min(20, steps)
    with pytest.raises(ServerError, match="steps made no update"):
        Made(tmp_path / "run", Scored(SCORE), silent, steps=steps).train()
    assert not made.folder.done


@pytest.mark.parametrize(
    ("q", "nan", "stops"),
    [(0, range(1, 51), 20), (0, range(11, 51), 30), (1, range(1, 51), 20), (1, range(11, 51), None)],
)
def test_nan_in_gradients_is_the_tasks_mistake_unless_an_attack_made_it_diverge(tmp_path, q, nan, stops):
    made = Made(tmp_path / "run", Scored(SCORE), nan=nan, steps=50, q=q, aggregator={"name": "mean", "f": 0})
    if stops is None:
        assert made.train()
        assert made.folder.summary()["skipped_steps"] == 40
    else:
        with pytest.raises(TaskError, match=f"step {stops}: 0 of 2 .*; 2 gradients hold NaN or infinity"):
            made.train()
    first = made.reporter.said[0]
    assert first.startswith(f"step {nan[0]} made no update: 0 of 2 groups have a vote")
    assert first.endswith("; 2 gradients hold NaN or infinity")
    assert made.folder.done is (stops is None)


def weights(made, name):
    """Header of a file of weights, which are the same in both forms; and the steps that they have made, each of -1."""
    tensors = load_file(made.folder.path / f"{name}.safetensors")
    other = torch.load(made.folder.path / f"{name}.pt", weights_only=True)
    assert tensors.keys() == other.keys() == {"weight"}
    assert torch.equal(tensors["weight"], other["weight"])
    begun = FlatModel.build(Line(), 0).weights[1].item()
    return read_facts(made.folder.path / f"{name}.safetensors"), round(tensors["weight"][0, 1].item() - begun)


@pytest.mark.parametrize(
    ("fields", "step", "score"),
    [({}, 4, "0.75"), ({"best": "loss"}, 2, "0.5"), ({"best": "loss", "best_is": "higher"}, 7, "0.25")],
)
def test_the_last_and_the_best_weights_are_kept_with_step_and_scores(tmp_path, fields, step, score):
    made = Made(tmp_path / "run", accuracies(0.5, 0.75, 0.75, 0.25), steps=7, eval_every=2, **fields)
    assert made.train()
    facts, count = weights(made, "best")
    assert (facts["run"], facts["step"], facts["test_accuracy"], count) == ("run", str(step), score, step)
    facts, count = weights(made, "model")
    assert (facts["step"], facts["test_accuracy"], facts["test_loss"], count) == ("7", "0.25", "4.0", 7)
    best = made.folder.summary()["best"]
    assert (best["metric"], best["step"]) == (fields.get("best", "accuracy"), step)


@pytest.mark.parametrize("killed", [2, 6])
def test_a_resumed_run_has_the_best_weights_of_the_whole(tmp_path, killed):
    scores, options = (0.1, 0.9, 0.5, 0.2), {"steps": 8, "eval_every": 2, "checkpoint_every": 2}
    with pytest.raises(KeyboardInterrupt):
        Made(tmp_path / "run", accuracies(*scores), killed=killed, **options).train()
    again = Made(tmp_path / "run", accuracies(*scores[killed // 2 :]), **options)
    assert again.train()
    assert len(again.workers.work) == 2 * (8 - killed)
    assert weights(again, "best")[1] == 4
    assert again.folder.summary()["best"] == {"metric": "accuracy", "score": 0.9, "step": 4}


@pytest.mark.parametrize(
    ("patience", "scores", "ends", "best"),
    [
        (0, [0.5, 0.4, 0.3, 0.2, 0.1], 10, 2),
        (1, [0.1, 0.2, 0.2, 0.9, 0.9], 6, 4),
        (2, [0.1, 0.9, 0.3, 0.9, 0.95], 8, 4),
        (3, [0.1, 0.9, 0.3, 0.9, 0.95], 10, 10),
        (2, [float("nan"), float("nan"), 1.0, 1.0, 1.0], 4, 0),
    ],
)
@pytest.mark.parametrize("killed", [None, 4, "at the end"])
def test_a_run_ends_early_where_it_gets_no_better_also_resumed(tmp_path, patience, scores, ends, best, killed):
    options = {"steps": 10, "eval_every": 2, "patience": patience, "checkpoint_every": 2}
    evaluated, step = 0, ends if killed == "at the end" else killed
    if killed is not None:
        with pytest.raises(KeyboardInterrupt):
            Made(tmp_path / "run", accuracies(*scores), killed=step, **options).train()
        evaluated = step // 2 - (killed == "at the end")
    made = Made(tmp_path / "run", accuracies(*scores[evaluated:]), **options)
    assert made.train()
    summary = made.folder.summary()
    assert (summary["steps"], summary["best"]["step"]) == (ends, best)
    words = f"ends after step {ends}: {patience} evaluations no better"
    assert any(words in line for line in made.reporter.said) == (ends < 10)


def test_a_run_without_a_finite_score_has_no_best_and_is_finished(tmp_path):
    made = Made(tmp_path / "run", accuracies(float("nan")), steps=3)
    assert made.train()
    assert not (made.folder.path / "best.safetensors").exists()
    assert made.folder.summary()["best"] == {"metric": "accuracy", "score": None, "step": 0}


@pytest.mark.parametrize("error", [None, TaskError("no"), OSError("gone"), ValueError("no")])
def test_a_run_that_fails_leaves_its_newest_weights_and_a_checkpoint_between_steps(tmp_path, error):
    def fail(step, line):
        if step == 5 and error is not None:
            raise error
        if step == 5:
            for rank in (1, 2):
                made.workers.network.kill(rank)

    made = Made(tmp_path / "run", Scored(), callback=fail, steps=9)
    with pytest.raises(ServerError if error is None else type(error)):
        made.train()
    facts, count = weights(made, "model")
    assert (facts["step"], count) == ("5", 5)
    assert (made.checkpoint is not None) == (error is None)
    if error is None:
        assert made.checkpoint[0] == 5


def test_a_run_that_can_write_no_weights_when_it_fails_tells_what_it_failed_of(tmp_path):
    def fail(step, line):
        shutil.rmtree(made.folder.path)
        raise AttributeError("nothing")

    made = Made(tmp_path / "run", Scored(), callback=fail)
    with pytest.raises(AttributeError, match="nothing"):
        made.train()


def test_an_earlier_evaluation_that_fails_is_said_and_the_training_goes_on(tmp_path):
    made = Made(tmp_path / "run", Scored(ValueError("no data"), SCORE), eval_every=2)
    assert made.train()
    assert len(made.reporter.said) == 1
    assert "step 2: the task's evaluate failed with ValueError: no data" in made.reporter.said[0]
    assert made.folder.summary()["test_loss"] == 1


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, torch.tensor, np.array, Fraction, Decimal])
def test_scores_are_whatever_evaluate_returns_as_numbers_of_any_kind(tmp_path, kind):
    scores = {"loss": kind(0.5), "mae": kind(2), "rank": np.int64(3), "good": np.bool_(True), "odd": float("nan")}
    made = Made(tmp_path / "run", Scored(scores), steps=1)
    assert made.train()
    summary = made.folder.summary()
    assert {name: summary[f"test_{name}"] for name in scores} == {
        "loss": 0.5, "mae": 2, "rank": 3, "good": 1, "odd": None
    }  # fmt: skip
    assert "test_accuracy" not in summary


def test_a_checkpoint_of_another_model_or_of_an_older_form_is_told_in_words(tmp_path):
    made = Made(tmp_path / "run", Scored())
    state = made.model.state()
    for wrong in ({}, {"model": {"weights": 3}}, {"model": state}, {"model": None}):
        with pytest.raises(CheckpointError, match=r"the checkpoint of step 7 does not fit.*--no-resume starts over"):
            made.run.resume((7, wrong))
    other = {**state, "weights": torch.zeros(650)}
    words = r"with 650 parameters and buffers, and the task's has 2: the model has changed"
    with pytest.raises(CheckpointError, match=words):
        made.run.resume((7, {"model": other}))
    made.server.ledger.close()
