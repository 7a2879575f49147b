import json

import pytest

from detox.launch.config import Config
from detox.launch.placement import create_placement
from detox.launch.report import FinishedRun, report
from detox.ps.folder import RunFolder
from detox.ps.stopwatch import PARTS

CONFIG = Config(name="tried", p=9, q=2, r=3, steps=3)


@pytest.fixture
def run(tmp_path):
    """A finished run in which step 1 names both liars, and step 2 one liar and one honest worker."""
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG.toml())
    placement = create_placement(CONFIG)
    liars = [sorted(placement.byzantine(step)) for step in (1, 2)]
    honest = next(worker for worker in range(9) if worker not in liars[1])
    with folder.ledger.open("w") as ledger:
        for step, worker in [(1, liars[0][0]), (1, liars[0][1]), (2, liars[1][0]), (2, honest)]:
            ledger.write(json.dumps({"step": step, "kind": "dissented", "worker": worker}) + "\n")
        ledger.write(json.dumps({"step": 2, "kind": "silent", "worker": honest}) + "\n")
    for step in (1, 2, 3):
        folder.append_metrics({"step": step, "accuracy": 0.3 * step, "loss": 1.0})
    folder.append_metrics({"step": 4, "accuracy": None, "loss": None})
    seconds = dict.fromkeys(PARTS, 0.1)
    folder.finish(
        {
            "name": "tried",
            "steps": 3,
            "test_accuracy": 0.9,
            "bytes_into_ps": 2_500_000,
            "seconds_per_step": {"total": 0.5, **seconds},
            "weights_digest": "0123456789abcdef",
        }
    )
    return folder


def test_dissents_are_told_apart_by_who_was_byzantine_in_that_step(run):
    assert FinishedRun.read(run.path).named() == (3, 1)


def test_the_table_and_the_picture_are_made(run, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    assert report([str(run.path), "--plot", str(tmp_path / "deep" / "a.png")]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "tried" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [
        "tried", "90.0%", "1.5", "2.5", "6", "3", "1", "01234567",
    ]  # fmt: skip
    assert (tmp_path / "deep" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_is_not_finished_is_told(run, capsys):
    (run.path / "done").unlink()
    assert report([str(run.path)]) == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err
