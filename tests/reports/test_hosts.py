import json
from dataclasses import asdict

import numpy as np
import pytest

from detox.config import Config
from detox.config.defences import AggregatorConfig
from detox.config.threats import AttackConfig
from detox.launch.history import of_history
from detox.ps.diagnosis import diagnose
from detox.ps.folder import RunFolder
from detox.reports.blame import blame
from detox.reports.hosts import class_of
from detox.reports.records import RunError
from detox.reports.report import read

CONFIG = Config(
    p=9, q=2, r=3, steps=100, aggregator=AggregatorConfig(name="median"), attack=AttackConfig(placement="fixed")
)
ONES = np.ones(60, np.float32)


def _entry(step, kind, host, worker=4, **more):
    return {"step": step, "kind": kind, "worker": worker, "rank": 2, "host": host, **more}


def _wrong(step, host, vector):
    return _entry(step, "examined", host, diagnosis=asdict(diagnose([(0, ONES, vector)])))


def _run(folder, name, entries):
    run = RunFolder(folder / name)
    run.create(CONFIG.toml())
    run.append_metrics({"step": 60})
    run.ledger.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return str(run.path)


@pytest.fixture
def three(tmp_path):
    """Three runs: gpu7 lied in two of them, once with zeros; gpu8 was suspect in one; gpu9 dissented once."""
    zeros = np.where(np.arange(60) % 4, ONES, 0).astype(np.float32)
    return [
        _run(tmp_path, "a", [_entry(3, "lied", "gpu7"), _wrong(3, "gpu7", zeros), _entry(9, "dissented", "gpu9", 1)]),
        _run(tmp_path, "b", [_entry(5, "lied", "gpu7"), _entry(8, "equivocated", "gpu7", 3)]),
        _run(tmp_path, "c", [_entry(step, "dissented", "gpu8") for step in range(10, 50)]),
    ]


def test_all_runs_are_told_by_host_the_worst_first(three, capsys):
    assert blame(["--all", *three, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs"] == three
    seven, eight, nine = told["hosts"]
    assert (seven["host"], seven["verdicts"], seven["entries"]) == (
        "gpu7",
        {"proven": 2},
        {"lied": 2, "equivocated": 1},
    )
    assert seven["faults"] == {"zeros in stripes": 1}
    assert [(run["run"], run["workers"], run["first"], run["last"]) for run in seven["runs"]] == [
        (three[0], ["4"], 3, 3),
        (three[1], ["4", "3"], 5, 8),
    ]
    assert (eight["host"], eight["verdicts"]) == ("gpu8", {"suspect": 1})
    assert (nine["host"], nine["verdicts"]) == ("gpu9", {"no proof": 1})
    assert blame(["--all", *three]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()[3:8]]
    assert rows[0] == ["gpu7", "2", "proven", "a", "4", "(2)", "3", "2", "lied", "1", "zeros", "in", "stripes"]
    assert rows[1] == ["b", "4", "(2),", "3", "(2)", "5-8", "1", "equivocated"]
    assert [row[0] for row in rows[2:4]] == ["gpu8", "gpu9"]


def test_the_table_of_many_runs_is_narrow_and_counts_each_claim_once(tmp_path, capsys):
    wrong = [
        _wrong(step, f"a-host-with-a-long-name-{n}", (np.arange(60) % n + 0.5).astype(np.float32))
        for n in (3, 7)
        for step in range(2, 8)
    ]
    lied = [_entry(3, "lied", f"a-host-with-a-long-name-{n}", n) for n in (3, 7)]
    claims = [{**one, "worker": int(one["host"][-1])} for one in wrong]
    honest = {**_wrong(4, "a-host-with-a-long-name-3", 2 * ONES), "worker": 5}  # right beside a vote that is wrong
    runs = [_run(tmp_path, f"digits-{i:012x}", [*lied, *claims, honest, _entry(5, "silent", "x", 1)]) for i in range(5)]
    assert blame(["--all", *runs]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 120
    assert "and 2 more" in out
    assert blame(["--all", *runs, "--json"]) == 0
    for host in json.loads(capsys.readouterr().out)["hosts"][:2]:
        assert sum(host["faults"].values()) == 5 * 6


def test_what_cannot_be_told_of_many_runs_is_told_in_words(three, tmp_path, capsys):
    for argv, words in (
        (three, "one run, got 3; --all tells of many"),
        (["--all", *three, "--plot", "a.png"], "--plot draws one run"),
        (["--all", str(tmp_path)], "is not the folder of a run"),
    ):
        with pytest.raises(RunError, match=words):
            blame(argv)
    assert blame(["--all", three[0], str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "and is left out" in said.err
    assert "1 run;\n" in said.out


def test_the_doctor_warns_of_hosts_that_offended_before_and_of_no_others(three, tmp_path):
    (check,) = of_history(["gpu7", "gpu9", "gpu7", "new"], tmp_path)
    assert (check.level, check.what) == ("yellow", "history")
    assert check.found == (
        "gpu7 offended in 2 of 3 runs: a: proven, steps 3; b: proven, steps 5-8; claims with 1 zeros in stripes"
    )
    (check,) = of_history(["gpu9", "new"], tmp_path)
    assert (check.level, check.found) == ("green", f"no host of these offended in the 3 runs of {tmp_path}")
    (tmp_path / "b" / "ledger.jsonl").write_text("broken\n")
    warned = of_history(["gpu7"], tmp_path)
    assert [check.level for check in warned] == ["yellow", "yellow"]
    assert "1 run of" in warned[1].found


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda v: v, ""),
        (lambda v: np.where(np.arange(60) < 2, 0, v), "zeros"),
        (lambda v: np.where(np.arange(60) == 2, np.nan, v), "NaN or infinity"),
        (lambda v: np.where(np.arange(60) == 2, -v, v), "one bit"),
        (lambda v: np.where(np.arange(60) == 2, 1.1, v), "several bits"),
        (lambda v: np.where(np.arange(60) % 8 == 0, -v, v), "one bit in stripes"),
        (lambda v: np.where(np.arange(60) % 17 == 0, -v, v), "one bit"),
        (lambda v: np.where(np.arange(60) == 2, -v, -3.3 * v), "several bits"),  # all are wrong, one in one bit
    ],
)
def test_a_wrong_claim_is_of_the_class_of_most_of_its_wrong_entries(change, named):
    assert class_of(diagnose([(0, ONES, change(ONES).astype(np.float32))])) == named


def test_a_folder_of_more_runs_beside_the_runs_is_no_reason_for_a_warning(three, tmp_path, capsys):
    assert read([tmp_path]) == []
    assert capsys.readouterr().err == ""
    (tmp_path / "junk").mkdir()
    read([tmp_path / "junk"])
    assert "is left out" in capsys.readouterr().err
