"""What the doctor finds, on ranks in one process."""

import json
import platform

import pytest

from detox.config import ConfigError
from detox.launch.doctor import doctor
from detox.launch.examine import examine


def _lines(job, level):
    return [line for line in job.text.splitlines() if line.startswith(level)]


def test_data_that_is_missing_is_told_for_every_host(here):
    job = here.start("--task", "fashion-mnist", "--data-dir", "nowhere", "--model", "lenet", life=examine)
    assert job.status == 1
    assert [line.split(":")[0] for line in _lines(job, "red")] == [
        "red    data on the PS", "red    data on rank 1", "red    data on rank 2",
    ]  # fmt: skip
    assert "Traceback" not in job.text


BROKEN = """
from torch import nn
from detox.tasks import Task

class Broken(Task):
    train_size = 10

    def __init__(self, *, device):
        self.device = device

    def build_model(self):
        return nn.Linear(2, 1)

    def loss(self, model, indices, generator):
        raise KeyError("no such column")

    def evaluate(self, model):
        return {"loss": 0.0, "accuracy": 0.0}
"""


def test_a_task_that_cannot_compute_is_red_and_the_rest_is_told_all_the_same(here, tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    files = (tmp_path / "broken.py",)
    job = here.start("--task", "broken:Broken", "--model", "None", files=files, life=examine)
    assert job.status == 1
    assert any("probe: ranks 1, 2 did not pass the self-test" in line for line in _lines(job, "red"))
    assert any("task: the loss failed with KeyError: 'no such column', in " in line for line in _lines(job, "red"))
    assert "latency" in job.text
    assert _lines(job, "green")


def test_hosts_that_offended_in_earlier_runs_are_warned_of(here, tmp_path):
    run = here.start("--steps", "3", "--q", "0", "--output", "earlier")
    lie = {"step": 2, "kind": "lied", "worker": 4, "rank": 2, "host": platform.node(), "file": 0, "detail": ""}
    (path,) = run.folder.glob("earlier/*")
    with (path / "ledger.jsonl").open("a") as ledger:
        ledger.write(json.dumps(lie) + "\n")
    job = here.start("--history", str(run.folder / "earlier"), life=examine)
    assert job.status == 0
    assert f"history: {platform.node()} offended in 1 of 1 run: {path.name}: proven, steps 2" in job.text


def test_a_history_that_is_not_there_is_told_before_anything_is_started(tmp_path):
    with pytest.raises(ConfigError, match="--history: there is no folder"):
        doctor(["--history", str(tmp_path / "nowhere")])
