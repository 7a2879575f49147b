import importlib
from pathlib import Path

import numpy as np
import pytest

from detox.config import Config

with pytest.MonkeyPatch.context() as patch:  # the modules are in the checkout alone
    patch.syspath_prepend(Path(__file__).parents[2])
    sdc, sdc_figure, sdc_job = (
        importlib.import_module(f"experiments.{name}") for name in ("sdc", "sdc_figure", "sdc_job")
    )

SMALL = {
    "p": 9, "r": 1, "q": 2, "batch_size": 4, "steps": 6, "eval_every": 6, "aggregator": {"name": "mean", "f": 0},
    "attack": sdc.COMMON["attack"], "fault": {"worker": [4, 7], "kind": ["sdc", "stripe"]},
}  # fmt: skip


def test_every_corruption_of_a_run_is_known_and_what_the_votes_said_of_it():
    alone, among_three = (sdc_job.run(SMALL | fields) for fields in ({}, {"r": 3, "quarantine": {"policy": "never"}}))
    for result in (alone, among_three):
        assert [(step, worker) for step, worker, *_ in result["wrong"]] == [(s, w) for s in range(2, 7) for w in (4, 7)]
        assert len(result["cpu_seconds"]) == 6
    assert not any(seen for *_, kind, seen, _ in alone["wrong"] if kind != "NaN or infinity")
    assert all(seen for *_, seen, _ in among_three["wrong"])
    assert {worker for _, worker, _ in among_three["accused"]} <= {4, 7}
    assert (alone["copies"], among_three["copies"]) == (1, 3)


@pytest.mark.parametrize("repeatable", [False, True])
def test_replaying_on_the_same_worker_misses_what_is_repeatable(repeatable):
    result = sdc_job.run(SMALL | {"fault": SMALL["fault"] | {"repeatable": repeatable}}, replay=True)
    assert result["wrong"]
    assert all(replayed != repeatable for *_, replayed in result["wrong"])


def test_workers_that_may_be_wrong_and_are_not_train_as_none_at_all():
    calm = {name: value for name, value in SMALL.items() if name != "fault"}
    with_q, without = (sdc_job.run(calm | fields) for fields in ({}, {"q": 0}))
    assert with_q["digest"] == without["digest"]
    assert with_q["wrong"] == with_q["accused"] == []


def test_a_corrupted_vector_is_of_one_class():
    right = np.linspace(1, 2, 500, dtype=np.float32)

    def changed(where, value):
        wrong = right.copy()
        wrong[where] = value
        return sdc_job.fault_class(right, wrong)

    assert changed(slice(0, 8, 2), 0) == "zeros"
    assert changed(3, np.nan) == "NaN or infinity"
    assert changed(slice(0, 8, 2), -right[:8:2]) == "one bit"
    assert changed(slice(0, 8, 2), 1.2345) == "several bits"
    assert changed(slice(0, 500, 4), -right[::4]) == "stripes"


RESULT = {
    "wrong": [[2, 7, "zeros", True, True], [3, 7, "zeros", False, True], [3, 23, "one bit", False, False]],
    "accused": [[2, 7, "dissented"], [3, 1, "dissented"]],
    "named": [[7, 5]],
    "copies": 1.5,
    "scores": {"test_loss": 1.0, "test_accuracy": 0.5},
    "digest": "00",
    "cpu_seconds": [1.0] * 9,
}
FOUND = {
    ("LeNet", "permanent", "NaN check", 9, 0): RESULT | {"named": []},
    ("LeNet", "permanent", "r = 3", 9, 0): RESULT,
    ("LeNet", "none", "NaN check", 9, 0): RESULT,
}


def test_the_tables_count_what_was_wrong_seen_and_named():
    rows = {row["detector"]: row for row in sdc.summaries(FOUND)}
    voted, replayed, rarely = (rows[name] for name in ("r = 3", "replay, every step", "replay, 1 step in 45"))
    assert (voted["wrong"], voted["seen"], voted["faulty"], voted["named"]) == (3, 1, 2, 1)
    assert (voted["steps to a name"], voted["false accusations"], voted["overhead"]) == (3, 1, 0.5)
    assert (replayed["seen"], replayed["named"], replayed["steps to a name"], replayed["overhead"]) == (2, 1, 0, 1)
    # Of 45 offsets one has step 2 and another step 3, and both see worker 7.
    assert (rarely["seen"], rarely["named"]) == (round(2 / 45, 2), round(2 / 45, 2))
    counts = {(row["detector"], row["class"]): (row["wrong"], row["seen"]) for row in sdc.classes(FOUND)}
    assert counts["r = 3", "zeros"] == (2, 1)
    assert counts["replay, every step", "one bit"] == (1, 0)


def test_every_config_can_be_run():
    for size in sdc.SIZES:
        for cell in sdc.cells(size):
            Config.model_validate(sdc.config(*cell))


def test_the_picture_is_drawn_from_the_kept_tables(tmp_path):
    pytest.importorskip("matplotlib")
    sdc.write_csv(sdc.summaries(FOUND), tmp_path / "runs.csv")
    sdc.write_csv(sdc.classes(FOUND), tmp_path / "classes.csv")
    assert sdc_figure.main([str(tmp_path), "--plot", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
