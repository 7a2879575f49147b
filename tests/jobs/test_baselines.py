"""DRACO, signSGD, worker momentum and shards of data, in whole runs."""

import json

from detox.wire.messages import HEADER_BYTES, Computed


def test_signs_take_a_thirty_second_of_the_bytes_of_floats(here):
    options = ("--r", "1", "--q", "0", "--model", "mlp", "--steps", "5", "--aggregator.name", "sign_majority")
    floats = here.run(*options, "--compression.codec", "none", n=2)
    signs = here.run(*options, "--compression.codec", "none", "--compression.kind", "sign", n=2)
    d, headers, computed = 9610, 5 * 9 * 32, 5 * 9 * (HEADER_BYTES + Computed.BYTES)
    of_floats, of_signs = (summary["bytes_into_ps"] - computed for summary in (floats, signs))
    assert of_floats - headers == 5 * 9 * 4 * d
    assert of_signs - headers == 5 * 9 * -(-d // 8)
    assert 31 < of_floats / of_signs <= 32


def test_sign_sgd_learns_under_attack_and_the_ps_can_compute_signs_itself(here):
    options = ("--compression.kind", "sign", "--aggregator.name", "sign_majority", "--optimizer.lr", "0.003")
    attacked = here.run(*options, "--optimizer.momentum", "0", "--steps", "60", "--on-tie", "recompute", n=2)
    assert attacked["test_accuracy"] > 0.8
    assert attacked["votes"]["none"] == 0


def test_draco_takes_no_harm_from_two_byzantine_workers_in_groups_of_five(here):
    options = ("--p", "10", "--r", "5", "--aggregator.name", "draco", "--attack.placement", "worst")
    summary = here.run(*options, "--quarantine.policy", "never", n=2)
    assert summary["votes"] == {"unanimous": 20, "majority": 20, "none": 0, "recomputed": 0}
    assert list(summary["dissents"].values()) == [20, 20]
    assert summary["test_accuracy"] > 0.5


def test_worker_momentum_trains_with_centered_clipping_under_attack(here):
    options = ("--r", "1", "--aggregator.name", "centered_clipping", "--worker-momentum", "0.9", "--groups", "fixed")
    clipped = here.run(*options, "--optimizer.momentum", "0", "--optimizer.lr", "0.5", "--steps", "100", n=2)
    assert clipped["test_accuracy"] > 0.8


def test_workers_of_a_group_have_equal_momenta_on_whatever_rank_they_are(here):
    summary = here.run("--worker-momentum", "0.9", "--q", "0", n=5)
    assert summary["votes"] == {"unanimous": 60, "majority": 0, "none": 0, "recomputed": 0}


def test_a_resumed_run_says_that_worker_momentum_starts_from_zero(here):
    long = ("--steps", "100", "--checkpoint-every", "50", "--worker-momentum", "0.9", "--q", "0")
    job = here.start(*long, n=2, after=0.1)
    assert job.status == 3
    assert "interrupted after step " in job.text
    again = here.start(*long, n=2, folder=job.folder)
    assert again.status == 0, again.text
    assert "worker_momentum starts from zero again" in again.text
    assert again.summary["votes"]["unanimous"] == 300


def test_files_with_shards_of_their_own_train_and_repeat_on_any_number_of_ranks(here):
    split = ("--data.split", "dirichlet", "--data.alpha", "0.1")
    one, other = here.run(*split), here.run(*split, n=4)
    assert one["weights_digest"] == other["weights_digest"] != here.run()["weights_digest"]
    assert one["test_accuracy"] > 0.5


def test_a_task_without_labels_cannot_be_split_by_them(here, tmp_path):
    (tmp_path / "bare.py").write_text(
        "from detox.tasks.classification import Classification\n"
        "from detox.tasks.datasets import load_digits\n"
        "from detox.tasks.models import softmax\n\n\n"
        "class Bare(Classification):\n"
        "    def __init__(self, *, device):\n"
        "        super().__init__(load_digits(None), softmax, device)\n"
        "        self.train_labels = None\n"
    )
    split = ("--task", "bare:Bare", "--model", "None", "--data.split", "label")
    job = here.start(*split, files=(tmp_path / "bare.py",))
    assert job.status != 0
    assert job.text.count("needs labels: task bare:Bare has to set train_labels") == 1
    assert json.loads((job.run / "status.json").read_text())["status"] == "failed"
