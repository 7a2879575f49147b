"""The run around the server: when it writes checkpoints, and what it says."""

from collections import Counter

import numpy as np
import pytest

from detox.launch.config import Config
from detox.launch.run import Run
from detox.ps.folder import RunFolder
from detox.ps.server import StepRecord
from detox.ps.stopwatch import PARTS


class Parts:
    """Ledger and quarantine, as far as a checkpoint and the summary need them."""

    counts, host_of, out = (), (), {}

    def state(self):
        return {}

    def dissents(self):
        return {}


class Server:
    """Makes steps until it is told to stop, after `steps` of them."""

    def __init__(self, steps):
        self.steps, self.stopping = steps, False
        self.outcomes, self.ledger, self.quarantine = Counter(), Parts(), Parts()

    def train(self, first, last):
        for step in range(first, min(last, self.steps) + 1):
            yield StepRecord(step, "", dict.fromkeys(PARTS, 0.0), 0)
        self.stopping = True

    def settle_accounts(self):
        pass


class Model:
    digest, evaluations = "", 0

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
    run = Run(config, folder, reporter, Server(steps), Model())
    assert not run.train(1)
    assert saved == checkpoint
    assert reporter.said == [said]


def test_the_summary_repeats_the_last_evaluation_and_does_not_make_another(tmp_path):
    config, folder, model = Config(steps=4, eval_every=2), RunFolder(tmp_path / "run"), Model()
    folder.create("")
    assert Run(config, folder, Reporter(), Server(4), model).train(1)
    assert model.evaluations == 2
    assert (folder.summary()["test_accuracy"], folder.summary()["test_loss"]) == (0.5, None)
