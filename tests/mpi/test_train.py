"""What takes real ranks: bits, colluders, instruction sets, the command line."""

import json
import subprocess
import sys

import pytest

from detox.launch.mpirun import mpirun_line


def test_ranks_under_mpirun_train_to_the_bits_of_ranks_in_one_process(here, baseline):
    summary = here.run(n=2)
    assert baseline["weights_digest"] == summary["weights_digest"]
    assert baseline["dissents"] == summary["dissents"]
    assert baseline["votes"] == summary["votes"]
    assert baseline["versions"].keys() - summary["versions"].keys() == {"mpi", "mpi4py"}


def test_colluders_exchange_gradients_over_mpi_and_agree(jobs, here):
    # Two pairs on three ranks each win the vote of their group with equal bits; its honest third is in the minority.
    options = ("--p", "15", "--q", "4", "--attack.kind", "alie", "--attack.placement", "worst")
    options += ("--quarantine.policy", "never")
    summary = jobs.run(*options, n=4)
    assert summary["votes"] == {"unanimous": 60, "majority": 40, "none": 0, "recomputed": 0}
    assert list(summary["dissents"].values()) == [20, 20]
    assert summary["weights_digest"] == here.run(*options, n=5)["weights_digest"]


def test_a_finished_run_is_not_made_again(here, baseline_job):
    options = ["--checkpoint-every", "5", "--log-every", "5"]
    again = here.start(*options, folder=baseline_job.folder)
    assert again.status == 0
    assert "already finished" in again.text


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


def test_one_process_alone_says_how_to_launch(plain_jobs):
    line = [sys.executable, "-m", "detox.launch", "train", "run.toml"]
    alone = subprocess.run(line, cwd=plain_jobs.folder, capture_output=True, text=True, check=False, timeout=240)
    assert alone.returncode == 2
    assert "detox-ps launch run.toml" in alone.stderr
    assert "detox-ps train run.toml" in alone.stderr.splitlines()[-1]
    assert "mpirun" in alone.stderr.splitlines()[-1]


def test_a_mistake_that_every_rank_makes_is_told_once_and_in_words(plain_jobs):
    mistake = ("--task", "fashion-mnist", "--data-dir", "nowhere", "--model", "lenet")
    line = mpirun_line(2, None, [sys.executable, "-m", "detox.launch", "train", "run.toml", *mistake])
    job = plain_jobs.start_line(line)
    assert job.wait() != 0
    assert job.text.count("dataset-fashion-mnist") == 1
    assert "Traceback" not in job.text


def _with_an_odd_rank(jobs, odd, *arguments):
    train = ["train", "run.toml", "--model", "mlp", "--q", "0", *arguments]
    line = mpirun_line(2, None, [sys.executable, "-m", "detox.launch", *train])
    line += [":", "-n", "1", sys.executable, *odd, *train]
    job = jobs.start_line(line)
    job.wait()
    return job


def test_hosts_that_compute_other_bits_are_named_and_agree_under_a_tolerance(jobs, odd):
    job = _with_an_odd_rank(jobs, odd, "--vote", "tolerance")
    assert "these differ" in job.text
    named = next(line for line in job.text.splitlines() if "cpu_capability DEFAULT" in line)
    assert "rank 2" in named
    assert "threads 1" in named
    summary = jobs.summary(job)
    assert summary["votes"]["unanimous"] == 3 * 20
    assert summary["test_accuracy"] > 0.5


@pytest.mark.parametrize(("copies", "groups"), [("all", 4), pytest.param("lazy", 7, marks=pytest.mark.slow)])
def test_groups_within_classes_agree_bit_by_bit_where_hosts_differ(jobs, odd, copies, groups):
    job = _with_an_odd_rank(jobs, odd, "--p", "15", "--groups-within", "class", "--copies", copies)
    assert f"classes of 8, 7 workers with equal bits make {groups} groups of 3" in job.text
    assert jobs.summary(job)["votes"] == {"unanimous": groups * 20, "majority": 0, "none": 0, "recomputed": 0}
