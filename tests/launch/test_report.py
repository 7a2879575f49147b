import base64
import csv
import json
import re

import pytest

from detox.launch.config import Config
from detox.launch.placement import create_placement
from detox.launch.report import report
from detox.launch.results import FinishedRun, methods
from detox.ps.folder import RunFolder
from detox.ps.stopwatch import PARTS

SECONDS = dict.fromkeys(PARTS, 0.1)


def _finished(path, config, accuracies=(0.3, 0.6, 0.9), dissents=()):
    """The folder of a finished run, with an evaluation after each step; None: the loss is not finite."""
    folder = RunFolder(path)
    folder.create(config.toml())
    entries = [{"step": step, "kind": "dissented", "worker": worker} for step, worker in dissents]
    folder.ledger.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    for step, accuracy in enumerate(accuracies, 1):
        loss = None if accuracy is None else 1 - accuracy
        line = {"step": step, "seconds": SECONDS, "bytes_in": 7, "accuracy": accuracy, "loss": loss}
        folder.append_metrics(line)
    folder.finish(
        {
            "name": config.name,
            "steps": 3,
            "skipped_steps": 0,
            "test_accuracy": accuracies[-1],
            "test_loss": None,
            "bytes_into_ps": 2_500_000,
            "seconds_per_step": {"total": 0.5, **SECONDS},
            "ledger": [{"agreed": 3}] * config.p,
            "hosts": ["<here>"] * config.p,
            "weights_digest": "0123456789abcdef",
        }
    )
    return folder.path


@pytest.fixture
def run(tmp_path):
    """A finished run in which step 1 names both liars, and step 2 one liar and one honest worker."""
    config = Config(name="tried", p=9, q=2, r=3, steps=3)
    liars = [sorted(create_placement(config).byzantine(step)) for step in (1, 2)]
    honest = next(worker for worker in range(9) if worker not in liars[1])
    return _finished(
        tmp_path / "run", config, dissents=[(1, liars[0][0]), (1, liars[0][1]), (2, liars[1][0]), (2, honest)]
    )


@pytest.fixture
def several(tmp_path):
    """Two methods under two attacks with two seeds each; the mean is lost under one of them."""
    pytest.importorskip("matplotlib")
    paths = []
    for name, r in (("detox", 3), ("mean", 1)):
        for kind in ("alie", "reversed"):
            for seed in (0, 1):
                config = Config(name=name, p=9, q=2, r=r, steps=3, seed=seed, attack={"kind": kind})
                lost = (name, kind) == ("mean", "reversed")
                scores = (None, None, None) if lost else (0.3, 0.6, 0.8 + 0.1 * seed)
                paths.append(_finished(tmp_path / f"{name}-{kind}-{seed}", config, scores))
    return paths


def test_dissents_are_told_apart_by_who_was_byzantine_in_that_step(run):
    assert FinishedRun.read(run).named == (3, 1)


def test_the_table_and_the_picture_are_made(run, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    assert report([str(run), "--plot", str(tmp_path / "deep" / "a.png")]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "tried" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [
        "tried", "90.0%", "1.5", "2.5", "6", "3", "1", "01234567",
    ]  # fmt: skip
    assert (tmp_path / "deep" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_is_not_finished_is_told(run, capsys):
    (run / "done").unlink()
    assert report([str(run)]) == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--plot", "--output"])
def test_what_cannot_be_written_is_told_in_words(run, option, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "file").touch()
    assert report([str(run), option, str(tmp_path / "file" / "deep.png")]) == 2
    assert "file" in capsys.readouterr().err


def test_what_is_not_finished_is_left_out_of_the_report_of_the_others(run, tmp_path, capsys):
    (tmp_path / "under-way").mkdir()
    assert report([str(run), str(tmp_path / "under-way"), str(tmp_path / "nowhere")]) == 0
    printed = capsys.readouterr()
    assert "tried" in printed.out
    assert [line.split(" is not")[0].split("/")[-1] for line in printed.err.splitlines()] == ["under-way", "nowhere"]


def test_runs_that_differ_in_seeds_alone_are_one_method_and_namesakes_are_told_apart(several, run):
    found = methods([FinishedRun.read(path) for path in (*several, run)])
    assert [(method.label, len(method.runs)) for method in found] == [
        ("detox, attack.kind = alie", 2),
        ("detox, attack.kind = reversed", 2),
        ("mean, attack.kind = alie", 2),
        ("mean, attack.kind = reversed", 2),
        ("tried", 1),
    ]


def test_the_time_to_an_accuracy_is_that_of_the_first_evaluation_with_it(several, run):
    one = FinishedRun.read(run)
    assert one.reached(0.6) == (2, pytest.approx(1.0))
    assert one.reached(0.95) is None
    detox, _, _, lost = methods([FinishedRun.read(path) for path in several])
    assert detox.reached(0.8) == pytest.approx(1.5)
    assert detox.reached(0.85) is None  # one of the seeds never came so far
    assert lost.reached(0.1) is None
    assert lost.accuracies == [0, 0]


def test_a_report_has_a_row_a_run_a_row_a_method_and_a_page_that_needs_no_other_file(several, tmp_path):
    out = tmp_path / "report"
    assert report([*map(str, several), "--output", str(out), "--target", "0.6"]) == 0
    with (out / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert (rows[1]["seed"], rows[1]["attack.kind"], rows[1]["test_accuracy"]) == ("1", "alie", "0.9")
    assert (rows[1]["steps_to_target"], rows[6]["steps_to_target"]) == ("2", "")
    markdown = (out / "report.md").read_text()
    assert "| detox, attack.kind = alie | 2 | 85.0% (80.0% to 90.0%) | 1.0 |" in markdown
    assert "| mean, attack.kind = reversed | 2 | 0.0% (0.0% to 0.0%) | never |" in markdown
    page = (out / "report.html").read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 4
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "&lt;here&gt;" in page
    assert "<here>" not in page


def test_event_files_hold_what_the_metrics_hold(run, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert report([str(run), "--tensorboard", str(tmp_path / "events")]) == 0
    (folder,) = (tmp_path / "events").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    assert [round(event.value, 3) for event in events.Scalars("test/accuracy")] == [0.3, 0.6, 0.9]
    assert [event.step for event in events.Scalars("seconds/vote")] == [1, 2, 3]


def test_seconds_by_part_are_those_of_the_median_step(tmp_path):
    path = _finished(tmp_path / "run", Config(name="slow-start", p=9, q=0, r=3, steps=3))
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for line, aggregate in zip(lines, (9.0, 0.2, 0.3), strict=True):
        line["seconds"] = {**SECONDS, "aggregate": aggregate}
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (method,) = methods([FinishedRun.read(path)])
    assert method.median_seconds == pytest.approx({**SECONDS, "aggregate": 0.3, "total": 0.7})
