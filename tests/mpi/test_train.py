import json
import subprocess
import sys

import pytest

from detox.launch.mpirun import mpirun_line


def test_training_repeats_bit_for_bit_whatever_the_number_of_ranks(jobs, baseline):
    again = jobs.run()
    spread = jobs.run(n=4)
    assert baseline["weights_digest"] == again["weights_digest"] == spread["weights_digest"]
    assert baseline["dissents"] == again["dissents"] == spread["dissents"]
    assert baseline["steps"] == 20
    assert baseline["test_accuracy"] > 0.5


def test_claims_need_a_third_of_the_bytes_of_full_copies(jobs):
    digest = jobs.run("--model", "mlp", "--steps", "5", n=2)
    full = jobs.run("--model", "mlp", "--steps", "5", "--vote", "full", n=2)
    assert digest["weights_digest"] == full["weights_digest"]
    assert digest["bytes_into_ps"] <= 0.34 * full["bytes_into_ps"]


def test_lies_that_are_outvoted_leave_no_trace_in_the_weights_and_are_named(jobs):
    # One Byzantine worker, so never a majority of a group.
    honest = jobs.run("--q", "0")
    attacked = jobs.run("--q", "1", "--attack.placement", "fixed", "--aggregator.f", "0")
    assert attacked["weights_digest"] == honest["weights_digest"]
    assert honest["votes"] == {"unanimous": 60, "majority": 0, "none": 0, "recomputed": 0}
    assert attacked["votes"] == {"unanimous": 40, "majority": 20, "none": 0, "recomputed": 0}
    assert list(attacked["dissents"].values()) == [20]
    assert honest["dissents"] == {}


@pytest.mark.parametrize("options", [["--share-compute"], ["--compression.codec", "none", "--vote", "full"]])
def test_sharing_computation_compression_and_the_kind_of_vote_change_no_bit(jobs, baseline, options):
    summary = jobs.run(*options)
    assert summary["weights_digest"] == baseline["weights_digest"]
    assert summary["votes"] == baseline["votes"]
    assert summary["dissents"] == baseline["dissents"]


def test_the_vanilla_system_runs_through_the_same_loop(jobs):
    summary = jobs.run("--r", "1", "--q", "2", n=2)
    assert summary["votes"] == {"unanimous": 180, "majority": 0, "none": 0, "recomputed": 0}
    assert summary["test_accuracy"] > 0.5


def test_colluders_exchange_gradients_over_mpi_and_agree(jobs):
    # Two pairs on four ranks each win the vote of their group with equal bits; its honest third is in the minority.
    summary = jobs.run("--p", "15", "--q", "4", "--attack.kind", "alie", "--attack.placement", "worst", n=5)
    assert summary["votes"] == {"unanimous": 60, "majority": 40, "none": 0, "recomputed": 0}
    assert list(summary["dissents"].values()) == [20, 20]


def test_colluders_that_know_one_file_have_nothing_to_hide_behind(jobs):
    summary = jobs.run("--attack.kind", "alie", "--attack.placement", "worst")
    assert summary["votes"] == {"unanimous": 60, "majority": 0, "none": 0, "recomputed": 0}


def test_a_finished_run_is_not_made_again(baseline_job):
    options = ["--checkpoint-every", "5", "--log-every", "5"]
    line = [sys.executable, "-m", "detox.launch", "launch", "-n", "3", "run.toml", *options]
    again = subprocess.run(line, cwd=baseline_job.folder, capture_output=True, text=True, check=False, timeout=240)
    assert again.returncode == 0
    assert "already finished" in again.stdout


def test_the_run_folder_holds_what_it_promises(baseline_job, baseline):
    (folder,) = baseline_job.folder.glob("runs/run-*")
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.toml", "metrics.jsonl", "ledger.jsonl", "summary.json", "checkpoints", "done"}
    assert baseline.keys() >= {
        "steps", "test_accuracy", "seconds_per_step", "bytes_into_ps", "votes", "dissents", "weights_digest",
        "config_hash", "versions",
    }  # fmt: skip
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == list(range(1, 21))
    assert sum(line["bytes_in"] for line in metrics) == baseline["bytes_into_ps"]
    parts = baseline["seconds_per_step"]
    assert parts["total"] == pytest.approx(sum(v for name, v in parts.items() if name != "total"))
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    assert sum(line["kind"] == "dissented" for line in lines) == sum(baseline["dissents"].values())
    assert [line for line in baseline_job.text.splitlines() if line.startswith("step")][-1].startswith("step 20")


NORMED = """
import torch
from detox.tasks.classification import Classification
from detox.tasks.datasets import load_digits
from torch import nn


def build(shape, classes):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))


class Normed(Classification):
    def __init__(self, *, device):
        super().__init__(load_digits(None), build, device)
"""


def test_batch_norm_statistics_go_through_the_vote_to_the_model_of_the_ps(jobs, tmp_path):
    (tmp_path / "normed.py").write_text(NORMED)
    options = ("--task", "normed:Normed", "--model", "None", "--optimizer.lr", "0.1")
    files = (tmp_path / "normed.py",)
    honest = jobs.run(*options, "--q", "0", n=2, files=files)
    # Outvoted lies about gradient and statistics alike leave no trace.
    attacked = jobs.run(*options, "--q", "1", "--aggregator.f", "0", "--attack.kind", "constant", files=files)
    assert attacked["weights_digest"] == honest["weights_digest"]
    # With the statistics of the untrained model, 0 and 1, it would be far off.
    assert honest["test_accuracy"] > 0.7


def test_one_process_alone_says_how_to_launch(jobs):
    line = [sys.executable, "-m", "detox.launch", "train", "run.toml"]
    alone = subprocess.run(line, cwd=jobs.folder, capture_output=True, text=True, check=False, timeout=240)
    assert alone.returncode == 2
    assert "detox-ps launch run.toml" in alone.stderr
    assert "detox-ps train run.toml" in alone.stderr.splitlines()[-1]
    assert "mpirun" in alone.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--p", "10"], "p = 10 workers cannot be split into groups of r = 3; take p = 9"),
        (["--workers-per-rank", "3"], "take 4 ranks, the PS included; mpirun started 3: use -n 4"),
        (["--task", "fashion-mnist", "--data-dir", "nowhere", "--model", "lenet"], "dataset-fashion-mnist"),
        (["--optimizer.name", "Sgd"], "torch.optim has no Sgd"),
    ],
)
def test_a_mistake_in_the_config_is_told_once_and_in_words(jobs, arguments, words):
    line = mpirun_line(3, None, [sys.executable, "-m", "detox.launch", "train", "run.toml", *arguments])
    job = jobs.start_line(line)
    assert job.wait() != 0
    assert job.text.count(words) == 1
    assert "Traceback" not in job.text


def _with_an_odd_rank(jobs, odd, *arguments):
    train = ["train", "run.toml", "--model", "mlp", "--q", "0", *arguments]
    line = mpirun_line(2, None, [sys.executable, "-m", "detox.launch", *train])
    line += [":", "-n", "1", sys.executable, "-c", odd, *train]
    job = jobs.start_line(line)
    job.wait()
    return job


def test_ranks_whose_bits_differ_are_named_by_the_self_test(jobs, odd):
    job = _with_an_odd_rank(jobs, odd)
    assert "these differ" in job.text
    named = next(line for line in job.text.splitlines() if "cpu_capability DEFAULT" in line)
    assert "rank 2" in named
    assert "threads 1" in named


def test_hosts_that_compute_other_bits_agree_under_a_tolerance(jobs, odd):
    summary = jobs.summary(_with_an_odd_rank(jobs, odd, "--vote", "tolerance"))
    assert summary["votes"]["unanimous"] == 3 * 20
    assert summary["test_accuracy"] > 0.5


def test_groups_within_classes_agree_bit_by_bit_where_hosts_differ(jobs, odd):
    job = _with_an_odd_rank(jobs, odd, "--p", "15", "--groups-within", "class")
    assert "classes of 8, 7 workers with equal bits make 4 groups of 3; 3 workers have nothing to do" in job.text
    assert jobs.summary(job)["votes"] == {"unanimous": 4 * 20, "majority": 0, "none": 0, "recomputed": 0}
