import base64
import csv
import json
import math
import re
from argparse import ArgumentTypeError
from dataclasses import asdict

import numpy as np
import pytest

from detox.config import Config
from detox.config.adversary import create_placement
from detox.launch import main
from detox.ps.diagnosis import diagnose
from detox.ps.folder import RunFolder
from detox.ps.stopwatch import PARTS
from detox.reports.drawn import Drawn, as_table, read_table
from detox.reports.methods import methods
from detox.reports.page import page
from detox.reports.report import report
from detox.reports.results import FinishedRun
from detox.reports.tables import by_attack
from detox.reports.target import Target, parse_target

SECONDS = dict.fromkeys(PARTS, 0.1)


def _finished(path, config, accuracies=(0.3, 0.6, 0.9), dissents=()):
    """The folder of a finished run, with an evaluation after each step; None: the loss is not finite."""
    folder = RunFolder(path)
    folder.create(config.toml())
    entries = [
        {"step": step, "kind": "dissented", "worker": worker, "rank": 1, "host": "h"} for step, worker in dissents
    ]
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
    """A finished run in which step 1 names both Byzantine workers, and step 2 one of them and an honest one."""
    config = Config(name="tried", p=9, q=2, r=3, steps=3)
    byzantine = [sorted(create_placement(config).byzantine(step)) for step in (1, 2)]
    honest = next(worker for worker in range(9) if worker not in byzantine[1])
    return _finished(
        tmp_path / "run",
        config,
        dissents=[(1, byzantine[0][0]), (1, byzantine[0][1]), (2, byzantine[1][0]), (2, honest)],
    )


def test_the_page_tells_of_each_run_who_must_have_lied(tmp_path):
    runs = []
    for name, others in (("graph", [3, 4, 5]), ("without", [])):
        path = _finished(tmp_path / name, Config(name=name, p=9, q=2, r=3, steps=3, attack={"placement": "fixed"}))
        line = {"step": 1, "kind": "dissented", "worker": 0, "rank": 1, "host": "h", "others": others}
        RunFolder(path).ledger.write_text(json.dumps(line) + "\n")
        runs.append(FinishedRun.read(path))
    html = page("tried", [{"method": "d"}], {}, runs)
    assert html.count("One of each two has lied, whoever won the vote: 1 worker must have, if at most q = 2 have.") == 1
    assert "<td>0</td><td>3</td><td>3 (1), 4 (1), 5 (1)</td><td>3, 4, 5</td>" in html


def test_the_page_has_the_table_of_blame_and_says_where_q_is_too_small(tmp_path):
    path = _finished(tmp_path / "run", Config(name="tried", p=9, q=0, r=3, steps=3), dissents=[(1, 4), (2, 4), (3, 4)])
    html = page("tried", [{"method": "d"}], {}, [FinishedRun.read(path)])
    for name in ("rank", "steps", "pattern", "verdict"):
        assert f"<th>{name}</th>" in html
    assert "<td>1-3</td><td>persistent</td><td>no proof</td>" in html
    assert "more than q = 0" in html
    assert "-q 1 names those" in html


def test_the_page_tells_what_dissenters_computed(tmp_path):
    path = _finished(tmp_path / "run", Config(name="tried", p=9, q=2, r=3, steps=3))
    wrong = diagnose([(0, np.ones(9, np.float32), np.zeros(9, np.float32))], [("conv.weight", 9)])
    line = {"step": 1, "kind": "examined", "worker": 0, "rank": 1, "host": "h", "diagnosis": asdict(wrong)}
    RunFolder(path).ledger.write_text(json.dumps(line) + "\n")
    html = page("tried", [{"method": "d"}], {}, [FinishedRun.read(path)])
    assert "<td>conv.weight (9)</td>" in html
    assert "NaN, inf" in html


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
    assert FinishedRun.read(run).positives == (3, 1)


def test_what_became_of_bad_gradients_is_kept_and_drawn(run, tmp_path):
    pytest.importorskip("matplotlib")
    from detox.reports.figures import overview

    drawn = [Drawn.of(method) for method in methods([FinishedRun.read(run)])]
    assert drawn[0].caught == {"bad_gradients": 6, "true_positives": 3, "false_positives": 1}
    (tmp_path / "kept.csv").write_text(as_table(drawn))
    assert read_table(tmp_path / "kept.csv")[0].caught == drawn[0].caught
    bars = [[bar.get_width() for bar in bars] for bars in overview(drawn, "").axes[1].containers]
    assert bars == [[3], [3], [1]]  # not outvoted, outvoted, honest and outvoted


def _row(path, capsys):
    assert report([str(path)]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "tried" in line)
    return [cell.strip() for cell in row.strip("│ ").split("│")][-4:-1]


def test_the_dissents_of_workers_with_an_injected_fault_are_true_positives(tmp_path, capsys):
    fault = {"worker": (3, 7), "kind": ("nullify", "kill"), "first": 2}
    config = Config(name="tried", p=9, q=0, r=3, steps=3, fault=fault)
    path = _finished(tmp_path / "run", config, dissents=[(1, 3), (2, 3), (3, 3), (3, 7), (3, 5)])
    # Worker 3 corrupts steps 2 and 3; a rank that is lost corrupts nothing; in step 1 nobody has a fault yet.
    assert _row(path, capsys) == ["2", "3", "2"]


@pytest.mark.parametrize(
    ("audit", "found"), [({"workers": 2}, ["6", "0", "1"]), ({"ps": 1}, ["6", "0", "1"]), ({}, ["6", "-", "-"])]
)
def test_where_audits_vote_there_are_true_and_false_positives_at_r_1(tmp_path, capsys, audit, found):
    config = Config(name="tried", p=9, q=2, r=1, steps=3, attack={"placement": "fixed"}, audit=audit)
    honest = min(set(range(9)) - create_placement(config).byzantine(1))
    path = _finished(tmp_path / "run", config, dissents=[(1, honest)] if audit else [])
    assert _row(path, capsys) == found


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
    assert main.run("report", [str(run)]) == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--plot", "--output"])
def test_what_cannot_be_written_is_told_in_words(run, option, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "file").touch()
    assert main.run("report", [str(run), option, str(tmp_path / "file" / "deep.png")]) == 2
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


def test_the_time_to_a_score_is_that_of_the_first_evaluation_with_it(several, run):
    one = FinishedRun.read(run)
    assert one.reached(parse_target("accuracy=0.6")) == (2, pytest.approx(1.0))
    assert one.reached(parse_target("loss=0.4")) == (2, pytest.approx(1.0))  # at most, for a loss
    assert one.reached(parse_target("accuracy=0.95")) is one.reached(parse_target("mae=3")) is None
    detox, _, _, lost = methods([FinishedRun.read(path) for path in several])
    assert detox.reached(parse_target("accuracy=0.8")) == pytest.approx(1.5)
    assert detox.reached(parse_target("accuracy=0.85")) is None  # one of the seeds never came so far
    assert lost.reached(parse_target("accuracy=0.1")) is None
    assert lost.values("accuracy") == [0, 0]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("accuracy=0.9", Target("accuracy", 0.9, "higher")),
        ("r2=-0.5", Target("r2", -0.5, "higher")),
        ("perplexity = 12", Target("perplexity", 12, "lower")),
        ("top 5>=0.9", Target("top 5", 0.9, "higher")),
        ("mape<=3e-1", Target("mape", 0.3, "lower")),
        ("loss>=3", Target("loss", 3, "higher")),  # how long until it diverged
    ],
)
def test_a_target_is_a_score_and_a_number_and_from_which_side(text, target):
    assert parse_target(text) == target
    assert target.met(target.value)
    assert target.met(target.value + 1) == (target.better == "higher")
    assert not target.met(None)


def test_a_score_of_which_nobody_knows_what_is_better_is_asked_about():
    with pytest.raises(ArgumentTypeError, match=r"a lower mape is better is not known: write 'mape>=3' or 'mape<=3'"):
        parse_target("mape=3")


def test_a_target_that_no_run_has_is_refused_with_those_that_there_are(run, capsys):
    assert main.run("report", [str(run), "--target", "r2=0.5"]) == 2
    assert "no run has a score r2; there are: accuracy, loss" in capsys.readouterr().err


def test_a_regression_is_timed_to_its_own_score_and_drawn_by_attack(tmp_path):
    pytest.importorskip("matplotlib")
    paths = []
    for name, r in (("detox", 3), ("mean", 1)):
        for kind in ("alie", "reversed"):
            path = _finished(tmp_path / f"{name}-{kind}", Config(name=name, p=9, q=2, r=r, attack={"kind": kind}))
            lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
            diverged = (name, kind) == ("mean", "reversed")
            scores = [
                {"loss": None} if diverged else {"loss": 1 / line["step"], "r2": 0.1 * line["step"]} for line in lines
            ]
            kept = [{k: v for k, v in line.items() if k not in ("loss", "accuracy")} for line in lines]
            text = "".join(json.dumps(line | found) + "\n" for line, found in zip(kept, scores, strict=True))
            (path / "metrics.jsonl").write_text(text)
            ends = {f"test_{k}": v for k, v in scores[-1].items()}
            _summary(**{"test_accuracy": ..., "test_loss": ..., **ends})(path)
            paths.append(path)
    out = tmp_path / "report"
    assert report([*map(str, paths), "--output", str(out), "--target", "r2=0.2"]) == 0
    assert "| method | seeds | test loss | test r2 | seconds to r2 0.2 |" in (out / "report.md").read_text()
    assert "| mean, attack.kind = reversed | 1 | not finite | - | never |" in (out / "report.md").read_text()
    assert {path.name for path in out.glob("*.png")} == {
        "curves.png", "seconds.png", "time-to-target.png", "attacks.png",
    }  # fmt: skip
    found = by_attack(methods([FinishedRun.read(path) for path in paths]), "loss")
    assert found["mean"] == {"alie": pytest.approx(1 / 3), "reversed": math.inf}


def test_a_report_has_a_row_a_run_a_row_a_method_and_a_page_that_needs_no_other_file(several, tmp_path):
    out = tmp_path / "report"
    assert report([*map(str, several), "--output", str(out), "--target", "accuracy=0.6"]) == 0
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


def _config(text):
    return lambda path: (path / "config.toml").write_bytes(text)


def _summary(**changes):
    def harm(path):
        summary = json.loads((path / "summary.json").read_text()) | changes
        kept = {name: value for name, value in summary.items() if value is not ...}
        (path / "summary.json").write_text(json.dumps(kept))

    return harm


def _write(name, content):
    return lambda path: (path / name).write_bytes(content)


def _gone(name):
    return lambda path: (path / name).unlink()


def _folder(name):
    def harm(path):
        (path / name).unlink()
        (path / name).mkdir()

    return harm


STEP = b'{"step": 1, "seconds": {"wait": 1}, "bytes_in": 7}\n'
DAMAGE = {
    "no config": (_gone("config.toml"), "no config.toml"),
    "a folder for a config": (_folder("config.toml"), "no config.toml"),
    "an empty-handed config": (_config(b"p = 10\nr = 3\n"), "p = 10 workers cannot be split"),
    "the config of another version": (_config(b"workers = 9\n"), "workers: there is no such field"),
    "a config that is not UTF-8": (_config(b"name = '\xff'\n"), "not UTF-8"),
    "no summary": (_gone("summary.json"), "summary.json: No such file"),
    "an empty summary": (_write("summary.json", b""), "summary.json: not JSON"),
    "half a summary": (_write("summary.json", b'{"name": "x"'), "summary.json: not JSON"),
    "a list for a summary": (_write("summary.json", b"[]"), "summary.json: "),
    "a binary summary": (_write("summary.json", bytes(range(256))), "summary.json: not JSON"),
    "the summary of another version": (_summary(weights_digest=...), "weights_digest"),
    "seconds of another version": (_summary(seconds_per_step={"total": 1}), "seconds_per_step lacks a part"),
    "a summary of other workers": (_summary(hosts=["here"]), "not of p = 9 workers"),
    "strings for numbers": (_summary(bytes_into_ps="many"), "bytes_into_ps"),
    "no step": (_summary(steps=0), "steps"),
    "no metrics": (_gone("metrics.jsonl"), "metrics.jsonl: no steps"),
    "empty metrics": (_write("metrics.jsonl", b""), "metrics.jsonl: no steps"),
    "metrics of other parts": (_write("metrics.jsonl", STEP), "steps without the seconds of"),
    "metrics without seconds": (_write("metrics.jsonl", b'{"step": 1}\n'), "line 1: seconds: Field required"),
    "a metric that is no object": (_write("metrics.jsonl", b"1\n"), "line 1: "),
    "metrics of a longer run": (_write("metrics.jsonl", STEP.replace(b"1", b"99", 1)), "a line of step 99, but"),
    "binary metrics": (_write("metrics.jsonl", b"\x00\xff\n"), "not JSON"),
    "a binary ledger": (_write("ledger.jsonl", b"\x00\xff\n"), "not JSON"),
    "a folder for a ledger": (_folder("ledger.jsonl"), "is no file"),
    "a ledger of more workers": (
        _write("ledger.jsonl", b'{"step": 1, "kind": "late", "worker": 9, "rank": 1, "host": ""}\n'),
        "entries of workers 9, but they are 0 to 8",
    ),
    "a ledger with strings for steps": (
        _write("ledger.jsonl", b'{"step": "1", "kind": "late", "worker": 1, "rank": 1, "host": ""}\n'),
        "line 1: step: ",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_run_that_is_damaged_is_left_out_in_words_and_the_others_reported(name, run, tmp_path, capsys):
    harm, words = DAMAGE[name]
    bad = _finished(tmp_path / "bad", Config(name="bad", p=9, steps=3))
    harm(bad)
    assert report([str(bad), str(run), str(run / ".")]) == 0
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.startswith("warning: ")
    assert printed.err.endswith(", and is left out\n")
    assert printed.err.count("\n") == 1
    assert printed.out.count("tried") == 1


def test_what_is_no_folder_is_left_out_in_words(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in ("file", "loop", "*", "x" * 300, "run/summary.json"):
        assert report([str(tmp_path / path), str(run)]) == 0
        assert capsys.readouterr().err.count("is left out") == 1
    monkeypatch.setattr(type(run), "read_bytes", lambda _: open("/no such file", "rb"))  # noqa: PTH123, SIM115
    assert main.run("report", [str(run)]) == 2


@pytest.mark.parametrize("scores", [{"loss": 0.5}, {"loss": -0.5, "mae": 3.0}, {"accuracy": 0.5, "top 5": None}, {}])
def test_columns_follow_the_scores_that_a_task_has(scores, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = _finished(tmp_path / "run", Config(name="mine", p=9, r=3, steps=3))
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    plain = [{name: line[name] for name in ("step", "seconds", "bytes_in")} for line in lines]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line | scores) + "\n" for line in plain))
    ends = {f"test_{name}": value for name, value in scores.items()}
    _summary(**{"test_accuracy": None, "test_loss": ..., **ends})(path)
    out = tmp_path / "out"
    assert report([str(path), "--output", str(out), "--plot", str(tmp_path / "a.png")]) == 0
    head = next(line for line in capsys.readouterr().out.splitlines() if "MB in" in line)
    for name in ("accuracy", "loss", "mae", "top 5"):
        assert (name in head) == (name in scores and (name != "loss" or "accuracy" not in scores))
    with (out / "report.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert {
        f"test_{name}": "" if value is None else str(value) for name, value in scores.items()
    }.items() <= row.items()
    assert ("seconds to" in (out / "report.md").read_text()) == ("accuracy" in scores)


def test_runs_with_different_scores_make_one_report(run, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    other = _finished(tmp_path / "other", Config(name="other", p=9, steps=3), (None, None, None))
    (other / "metrics.jsonl").write_text(
        (other / "metrics.jsonl").read_text().replace('"accuracy": null', '"mae": NaN')
    )
    assert report([str(run), str(other), "--output", str(tmp_path / "out")]) == 0
    assert "-" in next(line for line in capsys.readouterr().out.splitlines() if "other" in line)


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"), ("PDF", b"%PDF")]
)
def test_a_picture_has_the_format_that_its_name_says(run, tmp_path, monkeypatch, ending, start):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    path = tmp_path / f"a.{ending}"
    assert report([str(run), "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize("options", [
    ["--plot", "a.jpeg"], ["--plot", "a"], ["--plot", "."], ["--plot", ".png"], ["--plot", ""], ["--best", "-1"],
    *(["--target", value] for value in ("accuracy=nan", "loss=inf", "accuracy=-1", "accuracy=2", "r2=1e400", "loss=x",
                                        "loss=0x10", "loss=", "=3", "0.9", "loss", "loss<3", "loss==3", "")),
])  # fmt: skip
def test_an_option_that_cannot_be_is_refused_before_any_work(options, capsys):
    with pytest.raises(SystemExit) as stop:
        report(["nowhere", *options])
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert options[0] in printed.err
    assert "warning" not in printed.err


def test_a_host_that_is_no_text_and_a_name_with_marks_are_written(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = _finished(tmp_path / "run", Config(name="[red]$x^$", p=9, steps=3))
    _summary(hosts=["\udc80<é>\x1b[2J"] * 9)(path)
    assert report([str(path), "--output", str(tmp_path / "out")]) == 0
    assert "[red]$x^$" in capsys.readouterr().out
    assert "\\udc80&lt;é&gt;\\x1b[2J" in (tmp_path / "out" / "report.html").read_bytes().decode()
