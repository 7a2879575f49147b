"""`detox.Run` and `detox.runs`: what a folder says, in Python's words."""

import json
import sys

import pytest

import detox
from detox.config import Config
from detox.ps.folder import RunFolder
from detox.ps.stopwatch import PARTS

CONFIG = Config(name="tried", p=9, q=2, r=3, steps=100)
SECONDS = dict.fromkeys(PARTS, 0.1)


@pytest.fixture
def folder(tmp_path):
    """The folder of a run that goes on, and has been evaluated after step 2."""
    folder = RunFolder(tmp_path / "runs" / "tried-1")
    folder.create(CONFIG.toml())
    for step in (1, 2):
        scores = {"loss": 0.5, "accuracy": None} if step == 2 else {}
        folder.append_metrics({"step": step, "seconds": SECONDS, "bytes_in": 7, **scores})
    folder.ledger.write_text("")
    folder.write_status("running")
    return folder


def test_a_run_says_how_far_it_is_while_it_goes_on(folder):
    run = detox.Run(folder.path)
    assert (run.status, run.config, repr(run)) == ("running", CONFIG, f"Run({str(folder.path)!r}): running")
    with pytest.raises(detox.UserError, match=r"summary.json"):
        run.summary  # noqa: B018
    (folder.path / "done").touch()
    assert run.status == "finished"


def test_metrics_are_a_frame_whose_index_is_the_step(folder):
    pandas = pytest.importorskip("pandas")
    found = detox.Run(folder.path).metrics
    assert found.index.name == "step"
    assert list(found.index) == [1, 2]
    assert list(found) == [*(f"seconds.{part}" for part in PARTS), "bytes_in", "loss", "accuracy"]
    assert found["loss"].dropna().to_dict() == {2: 0.5}
    assert pandas.isna(found["accuracy"]).all()
    folder.metrics.unlink()
    assert len(detox.Run(folder.path).metrics) == 0


def test_without_pandas_metrics_are_a_list_of_dicts(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    line = {"step": 1, **{f"seconds.{part}": 0.1 for part in PARTS}, "bytes_in": 7}
    assert detox.Run(folder.path).metrics == [line, {**line, "step": 2, "loss": 0.5, "accuracy": None}]


def test_blame_is_that_of_the_command(folder, capsys):
    entries = [{"step": 1, "kind": "equivocated", "worker": 4, "rank": 2, "host": "h"}]
    folder.ledger.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    log = detox.Run(folder.path).blame(q=1)
    assert (log.q, log.steps, log.agreeing) == (1, 2, 8)
    assert [(one.worker, one.verdict) for one in log.findings] == [(4, "proven")]


def test_runs_are_the_folders_of_runs_that_match_by_name(folder, tmp_path, monkeypatch):
    other = RunFolder(tmp_path / "runs" / "a-2")
    other.create(CONFIG.toml())
    (tmp_path / "runs" / "a-2.toml").touch()
    (tmp_path / "runs" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert [run.path for run in detox.runs()] == [other.path, folder.path]
    assert [run.path for run in detox.runs(tmp_path / "runs" / "t*")] == [folder.path]
    assert detox.runs("nowhere/*") == []
    assert detox.runs()[0].status == ""


def test_a_folder_that_is_no_runs_is_told(tmp_path):
    with pytest.raises(detox.UserError, match=r"is not the folder of a run"):
        detox.Run(tmp_path).config  # noqa: B018
