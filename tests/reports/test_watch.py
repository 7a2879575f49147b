"""A run while it trains, from what is in its folder."""

import io
import json
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from detox.config import Config
from detox.config.threats import AttackConfig
from detox.ps.folder import RunFolder
from detox.ps.lock import Lock, is_held
from detox.ps.stopwatch import PARTS
from detox.reports import watch as watching
from detox.reports.records import RunError
from detox.reports.watch import Progress, follow, view, watch

CONFIG = Config(name="tried", p=9, q=1, r=3, steps=100, attack=AttackConfig(placement="fixed"))


def _line(step, **more):
    return {"step": step, "seconds": dict.fromkeys(PARTS, 0.01 * step), "bytes_in": 10**6, **more}


def _entry(step, kind, worker, file=None):
    about = {} if file is None else {"file": file}
    return {"step": step, "kind": kind, "worker": worker, "rank": 1, "host": "one", **about}


def _folder(path, steps, entries=(), config=CONFIG):
    folder = RunFolder(path / "run")
    folder.create(config.toml())
    folder.write_status("running")
    for step in range(1, steps + 1):
        folder.append_metrics(_line(step, **({"loss": 1 / step, "accuracy": 0.5} if step % 10 == 0 else {})))
    folder.ledger.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def _text(progress):
    out = io.StringIO()
    Console(width=100, file=out).print(view(progress))
    return out.getvalue()


@pytest.fixture(autouse=True)
def _held(monkeypatch):
    monkeypatch.setattr(watching, "is_held", lambda folder: True)


def test_pace_and_eta_are_those_of_the_newest_steps(tmp_path):
    progress = Progress.read(_folder(tmp_path, 40).path)
    assert progress.step == 40
    mean = 0.01 * sum(range(21, 41)) / 20
    assert progress.pace == pytest.approx(dict.fromkeys(PARTS, mean))
    assert progress.eta == pytest.approx(60 * len(PARTS) * mean)


def test_votes_are_those_that_the_run_has_counted(tmp_path):
    folder = _folder(tmp_path, 5)
    assert Progress.read(folder.path).votes == {}
    votes = {"unanimous": 7, "majority": 2, "none": 1, "recomputed": 0}
    folder.append_metrics(_line(6, votes=votes))
    assert Progress.read(folder.path).votes == votes
    assert "7 unanimous, 2 majority, 1 none, 0 recomputed" in _text(Progress.read(folder.path))


def test_the_view_says_scores_seconds_votes_suspects_and_what_is_left(tmp_path):
    entries = [_entry(step, "dissented", 7, 0) for step in range(1, 40)] + [_entry(40, "quarantined", 7)]
    entries.append(_entry(41, "dead", 8))
    text = " ".join(_text(Progress.read(_folder(tmp_path, 40, entries).path)).split())
    for words in (
        "tried: digits, 9 workers in 3 groups of r = 3, q = 1 Byzantine (reversed, fixed placement)",
        "40/100",
        "ETA 0:01:3",
        "evaluated after loss accuracy step 10 0.1 50.0% step 20 0.05 50.0%",
        "state running",
        "wait 305.0 + transfer 305.0",
        "1.000 MB per step",
        "lost worker 8 in step 41",
        "suspects worker 7 on one (suspect)",
        "quarantine worker 7 from step 40",
    ):
        assert words in text


def test_before_the_first_step_it_says_so(tmp_path):
    progress = Progress.read(_folder(tmp_path, 0).path)
    assert progress.eta is None
    assert "starting: no step yet" in _text(progress)


def test_it_is_shown_until_it_ends_and_how_it_ended_is_the_last_word(tmp_path, capsys):
    folder = _folder(tmp_path, 3)
    waited = []

    def pause(seconds):
        waited.append(seconds)
        folder.append_metrics(_line(3 + len(waited)))
        if len(waited) == 2:
            folder.end("failed", "the disk is full", again=False)

    progress = follow(folder.path, Console(width=80), pause)
    assert (progress.status, progress.step) == ("failed", 5)
    assert all(seconds >= 1 for seconds in waited)
    assert "failed: the disk is full" in capsys.readouterr().out


def test_once_prints_it_once_and_the_status_says_whether_all_is_well(tmp_path, capsys):
    folder = _folder(tmp_path, 3)
    assert watch([str(folder.path), "--once"]) == 0
    assert capsys.readouterr().out.count("3/100") == 1
    folder.write_status("interrupted", "told to end by a signal")
    assert watch([str(folder.path), "--once"]) == 1
    assert watch([str(folder.path)]) == 1
    assert "interrupted: told to end by a signal" in capsys.readouterr().out
    with pytest.raises(RunError, match="is not the folder of a run"):
        watch([str(tmp_path)])


def test_a_job_that_was_killed_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "is_held", is_held)
    folder = _folder(tmp_path, 3)
    with Lock(folder.path, pytest.fail).held():
        assert Progress.read(folder.path).status == "running"
    assert Progress.read(folder.path).status == "gone"
    code = "import sys; from pathlib import Path; from detox.ps.lock import Lock\n"
    code += "with Lock(Path(sys.argv[1]), print).held(): print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        holder.stdout.readline()
        assert is_held(folder.path)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert (folder.path / "lock").exists()
    assert "it was killed" in _text(Progress.read(folder.path))
