"""The run around the server: when it writes checkpoints, and what it says."""

import json
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from detox.config import Config
from detox.launch.run import Run
from detox.launch.scores import EvaluationError
from detox.ps.folder import CheckpointError, RunFolder
from detox.ps.model import GlobalModel
from detox.ps.server import ServerError, StepRecord
from detox.ps.stopwatch import PARTS
from detox.ps.weights import read_facts
from detox.tasks import TaskError, create_task


class Parts:
    """Ledger and quarantine, as far as a checkpoint and the summary need them."""

    counts, host_of, out = (), (), {}

    def state(self):
        return {}

    def dissents(self):
        return {}


class Server:
    """Makes steps until it is told to stop, after `steps` of them."""

    def __init__(self, steps, skipped=()):
        self.steps, self.stopping, self.skipped = steps, False, skipped
        self.outcomes, self.ledger, self.quarantine = Counter(), Parts(), Parts()

    def train(self, first, last):
        for step in range(first, min(last, self.steps) + 1):
            if self.stopping:
                break
            why = "no votes" if step in self.skipped else ""
            yield StepRecord(step, why, dict.fromkeys(PARTS, 0.0), 0)
        self.stopping = True

    def stop(self):
        self.stopping = True

    def settle_accounts(self):
        pass

    def state(self):
        return {"model": {"weights": np.zeros(2).tolist()}}


class Model:
    digest, evaluations, depends_on_steps = "", 0, False

    def evaluated(self, loss):
        self.told = loss

    def named(self):
        return {"weight": torch.full((2,), float(self.evaluations))}

    def evaluate(self):
        self.evaluations += 1
        return {"accuracy": 0.5, "loss": float("inf")}

    def state(self):
        return {"weights": np.zeros(2).tolist()}


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
    config, reporter = Config(steps=100, checkpoint_every=4, eval_every=100), Reporter()
    folder = RunFolder(tmp_path / "run")
    folder.create("")
    saved, save = [], folder.save_checkpoint
    folder.save_checkpoint = lambda step, state: (saved.append(step), save(step, state))
    run = Run(config, folder, reporter, Server(steps), Model(), {})
    assert not run.train(1)
    assert saved == checkpoint
    assert reporter.said == [said]


def test_the_summary_repeats_the_last_evaluation_and_does_not_make_another(tmp_path):
    config, folder, model = Config(steps=4, eval_every=2), RunFolder(tmp_path / "run"), Model()
    folder.create("")
    assert Run(config, folder, Reporter(), Server(4), model, {}).train(1)
    assert model.evaluations == 2
    assert (folder.summary()["test_accuracy"], folder.summary()["test_loss"]) == (0.5, None)


class Failing(Model):
    """Evaluates to what it is told, one thing after the other; raises what is an exception."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def evaluate(self):
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


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
    config, folder = Config(steps=3, eval_every=2), RunFolder(tmp_path / "run")
    folder.create("")
    good = {"loss": 0.25, "accuracy": 1}
    first = Run(config, folder, Reporter(), Server(3), Failing(good, answer), {})
    with pytest.raises(EvaluationError, match=words):
        first.train(1)
    assert not folder.done
    step, _ = folder.load_checkpoint(pytest.fail)
    assert step == 3
    assert Run(config, folder, Reporter(), Server(3), Failing(good), {}).train(4)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert [line.get("loss") for line in lines] == [None, 0.25, 0.25]
    assert folder.summary()["test_loss"] == 0.25


def test_a_callback_is_told_of_each_step_and_of_the_scores_at_the_end(tmp_path):
    folder, told = RunFolder(tmp_path / "run"), []
    folder.create("")
    config, scores = Config(steps=3, eval_every=2), {"loss": 0.5}
    run = Run(config, folder, Reporter(), Server(3), Failing(scores, scores), {}, lambda *what: told.append(what))
    assert run.train(1)
    assert [(step, line.get("loss")) for step, line in told] == [(1, None), (2, 0.5), (3, None), (3, 0.5)]


def a_run(tmp_path, server, steps, reporter=None, **fields):
    folder = RunFolder(tmp_path / "run")
    folder.create("")
    config = Config(steps=steps, eval_every=100, **fields)
    return folder, Run(config, folder, reporter or Reporter(), server, Failing({"loss": 1}), {})


@pytest.mark.parametrize(
    ("steps", "skipped", "stops"),
    [
        (100, range(1, 101), 20),
        (100, range(31, 101), 50),
        (100, [*range(5, 24), *range(25, 44), *range(82, 101)], None),
        (7, range(1, 8), 7),
        (7, range(2, 8), None),
        (1, [1], 1),
    ],
)
def test_a_run_without_an_update_for_twenty_steps_or_at_all_stops_as_failed(tmp_path, steps, skipped, stops):
    reporter, server = Reporter(), Server(steps, skipped)
    folder, run = a_run(tmp_path, server, steps, reporter)
    if stops is None:
        assert run.train(1)
        assert sum("made no update: no votes" in line for line in reporter.said) >= 1
        return
    words = f"the last {min(20, steps)} steps made no update; step {stops}: no votes"
    with pytest.raises(ServerError, match=words):
        run.train(1)
    assert f"step {skipped[0]} made no update: no votes" in reporter.said
    assert not folder.done
    step, state = folder.load_checkpoint(pytest.fail)
    assert step == stops
    assert state["idle"] == (min(20, steps), "no votes")
    _, run = a_run(tmp_path, Server(steps, skipped), steps)
    run._idle, run._why = state["idle"]
    with pytest.raises(ServerError, match="steps made no update"):
        run.train(stops + 1)
    assert not folder.done


@pytest.mark.parametrize(
    ("q", "skipped", "stops"),
    [(0, range(1, 51), 20), (0, range(11, 51), 30), (1, range(1, 51), 20), (1, range(11, 51), None)],
)
def test_nan_in_gradients_is_the_tasks_mistake_unless_an_attack_made_it_diverge(tmp_path, q, skipped, stops):
    reporter, server = Reporter(), Server(50, skipped)
    folder, run = a_run(tmp_path, server, 50, reporter, q=q)
    server.ledger = Parts()
    counts = server.ledger.counts = [Counter(), Counter()]
    train = server.train

    def growing(first, last):
        for record in train(first, last):
            counts[0]["nonfinite"] += 1
            counts[1]["nonfinite"] += 1
            yield record

    server.train = growing
    if stops is None:
        assert run.train(1)
        assert folder.summary()["skipped_steps"] == 40
    else:
        with pytest.raises(TaskError, match=f"step {stops}: no votes; 2 gradients hold NaN or infinity"):
            run.train(1)
    assert reporter.said[0] == f"step {skipped[0]} made no update: no votes; 2 gradients hold NaN or infinity"
    assert folder.done is (stops is None)


def weights(folder, name):
    """Header and one number of a file of weights, which is the same in both forms."""
    tensors = load_file(folder.path / f"{name}.safetensors")
    other = torch.load(folder.path / f"{name}.pt", weights_only=True)
    assert tensors.keys() == other.keys() == {"weight"}
    assert torch.equal(tensors["weight"], other["weight"])
    return read_facts(folder.path / f"{name}.safetensors"), tensors["weight"][0].item()


class Scored(Model):
    """Evaluates to these accuracies, one after the other; its weights count the evaluations."""

    def __init__(self, *scores):
        self.scores = scores

    def evaluate(self):
        self.evaluations += 1
        return {"accuracy": self.scores[self.evaluations - 1], "loss": float(self.evaluations)}


@pytest.mark.parametrize(
    ("fields", "step", "count", "score"),
    [({}, 4, 2, "0.75"), ({"best": "loss"}, 2, 1, "0.5"), ({"best": "loss", "best_is": "higher"}, 7, 4, "0.25")],
)
def test_the_last_and_the_best_weights_are_kept_with_step_and_scores(tmp_path, fields, step, count, score):
    folder = RunFolder(tmp_path / "run")
    folder.create("")
    config = Config(steps=7, eval_every=2, **fields)
    assert Run(config, folder, Reporter(), Server(7), Scored(0.5, 0.75, 0.75, 0.25), {}).train(1)
    facts, number = weights(folder, "best")
    assert (facts["run"], facts["step"], facts["test_accuracy"], number) == ("run", str(step), score, count)
    facts, number = weights(folder, "model")
    assert (facts["step"], facts["test_accuracy"], facts["test_loss"], number) == ("7", "0.25", "4.0", 4)
    best = folder.summary()["best"]
    assert (best["metric"], best["step"]) == (fields.get("best", "accuracy"), step)


@pytest.mark.parametrize("checkpointed", [2, 6])
def test_a_resumed_run_has_the_best_weights_of_the_whole(tmp_path, checkpointed):
    config, folder = Config(steps=8, eval_every=2, checkpoint_every=2), RunFolder(tmp_path / "run")
    folder.create("")
    scores = (0.1, 0.9, 0.5, 0.2)
    killed = Server(8)
    save = folder.save_checkpoint

    def kill(step, state):
        save(step, state)
        if step == checkpointed:
            raise KeyboardInterrupt

    folder.save_checkpoint = kill
    with pytest.raises(KeyboardInterrupt):
        Run(config, folder, Reporter(), killed, Scored(*scores), {}).train(1)
    folder = RunFolder(tmp_path / "run")
    step, state = folder.load_checkpoint(pytest.fail)
    model = Scored(*scores)
    model.evaluations = step // 2
    again = Run(config, folder, Reporter(), Server(8), model, {})
    again._keeper.best.restore(state["best"])
    assert again.train(step + 1)
    assert weights(folder, "best")[1] == 2
    assert folder.summary()["best"] == {"metric": "accuracy", "score": 0.9, "step": 4}


def test_a_run_without_a_finite_score_has_no_best_and_is_finished(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create("")
    assert Run(Config(steps=3), folder, Reporter(), Server(3), Scored(float("nan")), {}).train(1)
    assert not (folder.path / "best.safetensors").exists()
    assert folder.summary()["best"] == {"metric": "accuracy", "score": None, "step": 0}


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
    folder, config = RunFolder(tmp_path / "run"), Config(steps=10, eval_every=2, patience=patience, checkpoint_every=2)
    folder.create("")
    reporter, first, model = Reporter(), 1, Scored(*scores)
    run = Run(config, folder, reporter, Server(10), model, {})
    if killed is not None:
        state = {}

        def kill(step, of_run):
            state.update(of_run, step=step)
            if step == killed or (killed == "at the end" and step == ends):
                raise KeyboardInterrupt

        folder.save_checkpoint = kill
        with pytest.raises(KeyboardInterrupt):
            run.train(1)
        del folder.save_checkpoint
        run = Run(config, folder, reporter, Server(10), model, {})
        run._keeper.best.restore(state["best"])
        first = state["step"] + 1
        model.evaluations = min(state["step"], ends) // 2 - (killed == "at the end")
    assert run.train(first)
    summary = folder.summary()
    assert (summary["steps"], summary["best"]["step"]) == (ends, best)
    assert any(f"ends after step {ends}: {patience} evaluations no better" in line for line in reporter.said) == (
        ends < 10
    )


@pytest.mark.parametrize("error", [ServerError("all ranks are lost"), TaskError("no"), OSError("gone"), ValueError])
def test_a_run_that_fails_leaves_its_newest_weights_and_a_checkpoint_between_steps(tmp_path, error):
    server = Server(9)
    train = server.train

    def failing(first, last):
        for record in train(first, last):
            if record.step == 6:
                raise error
            yield record

    server.train = failing
    folder, run = a_run(tmp_path, server, 9)
    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        run.train(1)
    assert weights(folder, "model")[0]["step"] == "5"
    checkpoint = folder.load_checkpoint(pytest.fail)
    assert (checkpoint is not None) == isinstance(error, ServerError)
    if checkpoint:
        assert checkpoint[0] == 5


def test_a_run_that_can_write_no_weights_when_it_fails_tells_what_it_failed_of(tmp_path):
    server = Server(9)
    server.train = lambda first, last: iter([StepRecord(1, "", dict.fromkeys(PARTS, 0.0), 0)])
    folder, run = a_run(tmp_path, server, 9)

    def full(*_):
        raise OSError(28, "No space left on device")

    folder.save_weights = full
    folder.append_metrics = lambda _: run.nothing
    with pytest.raises(AttributeError):
        run.train(1)


def test_an_earlier_evaluation_that_fails_is_said_and_the_training_goes_on(tmp_path):
    config, folder, reporter = Config(steps=4, eval_every=2), RunFolder(tmp_path / "run"), Reporter()
    folder.create("")
    assert Run(config, folder, reporter, Server(4), Failing(ValueError("no data"), {"loss": 1}), {}).train(1)
    assert len(reporter.said) == 1
    assert "step 2: the task's evaluate failed with ValueError: no data" in reporter.said[0]
    assert folder.summary()["test_loss"] == 1


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, torch.tensor, np.array, Fraction, Decimal])
def test_scores_are_whatever_evaluate_returns_as_numbers_of_any_kind(tmp_path, kind):
    folder = RunFolder(tmp_path / "run")
    folder.create("")
    scores = {"loss": kind(0.5), "mae": kind(2), "rank": np.int64(3), "good": np.bool_(True), "odd": float("nan")}
    assert Run(Config(steps=1), folder, Reporter(), Server(1), Failing(scores), {}).train(1)
    summary = folder.summary()
    assert {name: summary[f"test_{name}"] for name in scores} == {
        "loss": 0.5, "mae": 2, "rank": 3, "good": 1, "odd": None
    }  # fmt: skip
    assert "test_accuracy" not in summary


def test_a_checkpoint_of_another_model_or_of_an_older_form_is_told_in_words(tmp_path):
    task = create_task("digits", model="softmax")
    model = GlobalModel(task, seed=0, steps=3)
    run = Run(Config(), RunFolder(tmp_path / "run"), Reporter(), Server(3), model, {})
    for state in ({}, {"model": {"weights": 3}}, {"model": model.state()}, {"model": None}):
        with pytest.raises(CheckpointError, match=r"the checkpoint of step 7 does not fit.*--no-resume starts over"):
            run.resume((7, state))
    other = GlobalModel(create_task("digits", model="mlp"), seed=0, steps=3)
    run = Run(Config(), RunFolder(tmp_path / "run"), Reporter(), Server(3), other, {})
    with pytest.raises(CheckpointError, match=r"with 650 parameters and buffers, and .* the model has changed") as told:
        run.resume((7, {"model": model.state()}))
    assert str(other.d) in str(told.value)
