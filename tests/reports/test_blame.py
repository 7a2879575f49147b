import contextlib
import json
from dataclasses import asdict

import numpy as np
import pytest

from detox.assignment.schemes import RedrawnGroups
from detox.config import Config
from detox.config.defences import AggregatorConfig, AuditConfig
from detox.config.threats import AttackConfig
from detox.launch import main
from detox.ps.diagnosis import diagnose
from detox.ps.folder import RunFolder
from detox.reports.blame import blame
from detox.reports.evidence import KINDS
from detox.reports.heatmap import COLOURS, heatmap, severity
from detox.reports.log import Log

CONFIG = Config(
    name="tried", p=9, q=2, r=3, steps=100, aggregator=AggregatorConfig(name="median"),
    attack=AttackConfig(placement="fixed"),
)  # fmt: skip


def _run(tmp_path, entries, config=CONFIG, steps=60):
    """The folder of a run that is going on: no summary, no `done`."""
    folder = RunFolder(tmp_path / "run")
    folder.create(config.toml())
    for step in range(1, steps + 1):
        folder.append_metrics({"step": step})
    folder.ledger.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def _entry(step, kind, worker, rank=None, **more):
    rank = 1 + worker // 3 if rank is None else rank
    return {"step": step, "kind": kind, "worker": worker, "rank": rank, "host": f"host{rank}", **more}


ENTRIES = [
    *(_entry(step, "dissented", 4) for step in range(1, 41)),
    _entry(3, "undecided", 5),
    _entry(7, "equivocated", 0),
    _entry(9, "malformed", None, rank=3),
    _entry(50, "quarantined", 4, detail="seven workers are left"),
    _entry(55, "dead", 8),
]


def _cells(out):
    return [line.split() for line in out.splitlines()]


def test_a_run_that_goes_on_is_told_worst_first(tmp_path, capsys):
    folder = _run(tmp_path, ENTRIES)
    assert blame([str(folder.path)]) == 0
    out = capsys.readouterr().out
    rows = _cells(out)
    assert rows[0] == [
        "worker", "rank", "host", "equivocated", "dissented", "malformed", "undecided", "agreed", "steps", "pattern",
        "verdict", "out",
    ]  # fmt: skip
    assert rows[2] == ["0", "1", "host1", "1", "60", "7", "transient", "proven"]
    assert rows[3] == ["4", "2", "host2", "40", "9", "1-40", "persistent", "suspect", "quarantined", "50"]
    assert rows[4] == ["8", "3", "host3", "60", "55", "transient", "absent", "dead", "55"]
    assert rows[5] == ["?", "3", "host3", "1", "9", "transient", "no", "proof"]
    assert rows[6] == ["5", "2", "host2", "1", "59", "no", "proof"]
    assert "5 of 9 workers: nothing but agreement, in 60 steps" in out
    assert ["host2", "1", "suspect,", "1", "no", "proof", "40", "dissented,", "1", "undecided,", "68", "agreed"] in rows


def test_json_says_the_same(tmp_path, capsys):
    folder = _run(tmp_path, ENTRIES)
    assert blame([str(folder.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["steps"], told["p"], told["q"], told["r"], told["groups"]) == (60, 9, 2, 3, "redrawn")
    assert told["agreeing"] == 5
    assert [worker["worker"] for worker in told["workers"]] == [0, 4, 8, None, 5]
    assert told["workers"][1] == {
        "worker": 4, "rank": 2, "host": "host2", "counts": {"dissented": 40, "agreed": 9}, "first": 1, "last": 40,
        "pattern": "persistent", "verdict": "suspect", "dead": None, "quarantined": 50, "why": "seven workers are left",
    }  # fmt: skip
    assert told["hosts"]["host2"]["verdicts"] == {"suspect": 1, "no proof": 1}
    # With one worker in quarantine, the 2 fellows are 2 given ones of 7 others.
    assert told["chance_outvoted"] == pytest.approx(1 / 21)


def test_fixed_groups_make_nobody_suspect_and_say_why(tmp_path, capsys):
    folder = _run(tmp_path, ENTRIES, CONFIG.model_copy(update={"groups": "fixed"}))
    blame([str(folder.path)])
    out = capsys.readouterr().out
    assert "cannot tell which side of a split group is honest" in out
    assert _cells(out)[4][-4:] == ["no", "proof", "quarantined", "50"]


def test_one_dissent_is_suspect_where_q_is_too_small_for_a_majority(tmp_path, capsys):
    folder = _run(tmp_path, [_entry(1, "dissented", 3)], CONFIG.model_copy(update={"groups": "fixed", "q": 1}))
    blame([str(folder.path)])
    assert _cells(capsys.readouterr().out)[2][-1] == "suspect"


def test_with_worker_momentum_dissents_make_nobody_suspect(tmp_path, capsys):
    # Whoever missed a step sends another momentum than its group from then on.
    momentum = CONFIG.model_copy(update={"q": 1, "groups": "fixed", "worker_momentum": 0.9})
    assert blame([str(_run(tmp_path, [_entry(step, "dissented", 4) for step in (3, 4)], momentum).path)]) == 0
    out = capsys.readouterr().out
    assert "no proof" in out.split("proven:")[0]
    assert "worker_momentum: whoever misses a step dissents from then on" in out


@pytest.mark.parametrize("entries", [[], [_entry(1, "dissented", 3)]])
def test_what_a_tolerance_lets_through_is_said_with_every_ledger(tmp_path, capsys, entries):
    tolerant = CONFIG.model_copy(update={"vote": "tolerance", "vote_tolerance": 0.003})
    assert blame([str(_run(tmp_path, entries, tolerant).path)]) == 0
    assert "a deviation of at most 0.003 of the gradient's length agrees" in capsys.readouterr().out


def test_a_picture_that_cannot_be_written_is_told_in_words(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    folder = _run(tmp_path, [_entry(1, "dissented", 3)])
    (tmp_path / "file").touch()
    assert main.run("blame", [str(folder.path), "--plot", str(tmp_path / "file" / "a.png")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_run_without_offences_has_no_table(tmp_path, capsys):
    folder = _run(tmp_path, [])
    assert blame([str(folder.path)]) == 0
    assert capsys.readouterr().out.split("\n")[:2] == [
        "9 of 9 workers: nothing but agreement, in 60 steps",
        "Up to step 60 every vote is beyond dispute: nobody contradicted it who is not proven.",
    ]


def test_votes_are_in_dispute_from_the_first_dissent_of_a_worker_that_is_not_proven(tmp_path, capsys):
    proven = [_entry(3, "dissented", 4), _entry(5, "equivocated", 4)]
    for entries, told in (
        (proven, "Up to step 60 every vote"),
        ([*proven, _entry(7, "dissented", 1), _entry(9, "dissented", 1)], "Up to step 6 every vote"),
        ([_entry(1, "dissented", 1)], "Votes are in dispute from the first step on"),
    ):
        folder = _run(tmp_path, entries)
        blame([str(folder.path)])
        assert told in capsys.readouterr().out
    folder = _run(tmp_path, [], CONFIG.model_copy(update={"r": 1, "audit": AuditConfig(ps=1)}))
    blame([str(folder.path)])
    assert "nobody contradicts a vote" in capsys.readouterr().out


def test_half_written_last_lines_are_ignored(tmp_path, capsys):
    folder = _run(tmp_path, ENTRIES)
    blame([str(folder.path)])
    whole = capsys.readouterr().out
    for path, half in ((folder.metrics, '{"step": 6'), (folder.ledger, json.dumps(_entry(60, "lied", 2)))):
        with path.open("a") as file:
            file.write(half)
    assert blame([str(folder.path)]) == 0
    assert capsys.readouterr().out == whole


def _no_config(folder):
    (folder.path / "config.toml").unlink()


def _no_step(folder):
    folder.metrics.write_text('{"step": 1')


def _bad_config(folder):
    (folder.path / "config.toml").write_text("p = 0\n")


def _bad_line(folder):
    folder.ledger.write_text("not JSON\n")


def _no_ledger(folder):
    folder.ledger.unlink()


def _line(**changes):
    def harm(folder):
        line = {name: value for name, value in (_entry(1, "late", 1) | changes).items() if value is not ...}
        folder.ledger.write_text(json.dumps(line) + "\n")

    return harm


def _bytes(content):
    return lambda folder: folder.ledger.write_bytes(content)


def _bad_kind(folder):
    folder.ledger.write_text(json.dumps(_entry(1, "sneezed", 1)) + "\n")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_no_config, "is not the folder of a run: it has no config.toml"),
        (_no_step, "has not made a step yet"),
        (_bad_config, "config.toml: p: "),
        (_bad_line, "ledger.jsonl: a line is not JSON"),
        (_bad_kind, "ledger.jsonl: entries of unknown kind: sneezed"),
        (_no_ledger, "ledger.jsonl: there is none, so nothing is known"),
        (_bytes(b'{"step": 1, "kind": "l\xffte"}\n'), "ledger.jsonl: a line is not JSON: line 1: "),
        (_bytes(b"\n\n"), "ledger.jsonl: a line is not JSON: line 1: "),
        (_bytes(b"[" * 100_000 + b"\n"), "ledger.jsonl: a line is not JSON: line 1: "),
        (_bytes(b"1" * 5000 + b"\n"), "ledger.jsonl: a line is not JSON: line 1: "),
        (_bytes(b"[]\n"), "ledger.jsonl: line 1: "),
        (_bytes(b"{}\n"), "ledger.jsonl: line 1: step: Field required"),
        (_line(worker=9), "entries of workers 9, but they are 0 to 8"),
        (_line(others=[9]), "entries of workers 9, but they are 0 to 8"),
        (_line(others=[None]), "line 1: others.0: "),
        (_line(worker=-1), "line 1: worker: "),
        (_line(worker="1"), "line 1: worker: "),
        (_line(worker=True), "line 1: worker: "),
        (_line(step="1"), "line 1: step: "),
        (_line(step=1.5), "line 1: step: "),
        (_line(step=-1), "line 1: step: "),
        (_line(step=10**12), "an entry of step 1000000000000, but the run has 100"),
        (_line(rank=None), "line 1: rank: "),
        (_line(kind=["late"]), "line 1: kind: "),
        (_line(host=...), "line 1: host: Field required"),
        (lambda folder: folder.metrics.write_text('{"step": 1000}\n'), "a line of step 1000, but the run has 100"),
        (lambda folder: folder.metrics.write_text('{"step": "1"}\n'), "metrics.jsonl: line 1: step: "),
    ],
)
def test_what_is_no_run_is_told_in_one_line(tmp_path, capsys, harm, message):
    folder = _run(tmp_path, ENTRIES)
    harm(folder)
    assert main.run("blame", [str(folder.path)]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (said.err.count("\n"), said.out) == (1, "")


@pytest.mark.parametrize("options", [["-q", "-1"], ["-q", "x"], ["-q", "1.5"], ["--plot", "a.gif"], ["--best"]])
def test_an_option_that_cannot_be_is_refused(options, tmp_path, capsys):
    folder = _run(tmp_path, ENTRIES)
    with contextlib.suppress(SystemExit):
        assert main.run("blame", [str(folder.path), *options]) == 2
    assert options[0] in capsys.readouterr().err


def test_what_a_rank_calls_its_host_cannot_write_to_the_terminal(tmp_path, capsys):
    folder = _run(tmp_path, [{**_entry(2, "late", 1), "host": "\x1b[2J\udc80\n"}])
    assert blame([str(folder.path)]) == 0
    assert "\\x1b[2J\\udc80\\n" in capsys.readouterr().out


def _true_run(tmp_path, byzantine, steps=200, **fields):
    """A run whose Byzantine workers collude in every step, with all that the vote makes of it."""
    config = Config(p=15, q=0, r=3, steps=1000, **fields)
    entries = []
    for step in range(1, steps + 1):
        for group in RedrawnGroups(3, 7).draw(step, range(15)).holders:
            bad = set(group) & byzantine
            outvoted = set(group) - bad if len(bad) == 2 else bad if len(bad) == 1 else set()
            entries += [_entry(step, "dissented", worker) for worker in sorted(outvoted)]
    return _run(tmp_path, entries, config, steps)


def _verdicts(folder, capsys, *options):
    assert blame([str(folder.path), "--json", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    return told, {worker["worker"] for worker in told["workers"] if worker["verdict"] != "no proof"}


def test_where_more_workers_lie_than_were_assumed_that_is_said_and_nobody_named(tmp_path, capsys):
    folder = _true_run(tmp_path, {2, 8, 11})
    told, named = _verdicts(folder, capsys)
    assert (told["q_assumed"], told["explained"], told["q_at_least"], named) == (0, False, 3, set())
    assert len(told["workers"]) > 10  # nearly all were outvoted at least once
    blame([str(folder.path)])
    out = " ".join(capsys.readouterr().out.split())
    assert "more than q = 0: so few Byzantine workers cannot have outvoted all these by chance" in out
    assert "There are 3 at least" in out
    assert "draws other workers" not in out
    assert " suspect " not in out.split("proven:")[0]


@pytest.mark.parametrize("q", [1, 2])
def test_an_understated_q_names_nobody_and_the_true_one_names_the_byzantine(tmp_path, capsys, q):
    folder = _true_run(tmp_path, {2, 8, 11})
    told, named = _verdicts(folder, capsys, "-q", str(q))
    assert (told["q_assumed"], told["explained"], told["q_at_least"], named) == (q, False, 3, set())
    for enough in ("3", "4", "5"):
        told, named = _verdicts(folder, capsys, "-q", enough)
        assert (told["explained"], named) == (True, {2, 8, 11})
    assert _verdicts(folder, capsys, "-q", "99")[0]["q_assumed"] == 15


def test_what_the_aggregator_tolerates_is_assumed_where_q_is_0_and_said(tmp_path, capsys):
    folder = _true_run(tmp_path, {2, 8, 11}, aggregator={"name": "median", "f": 1})
    told, named = _verdicts(folder, capsys)
    # f = 1 bad vote tolerates 3 Byzantine workers wherever they are: a second bad vote would take 4.
    assert (told["q_assumed"], told["explained"], named) == (3, True, {2, 8, 11})
    blame([str(folder.path)])
    assert "at most q = 3 of 15 workers are Byzantine, as many as aggregator.f tolerates" in capsys.readouterr().out


def test_where_others_are_byzantine_in_each_step_nobody_is_named_by_chance(tmp_path, capsys):
    entries = [_entry(step, "dissented", worker) for step in range(1, 61) for worker in (4, step % 9)]
    drill = CONFIG.model_copy(update={"attack": AttackConfig(placement="random")})
    folder = _run(tmp_path, entries, drill)
    assert _verdicts(folder, capsys)[1] == set()
    blame([str(folder.path)])
    out = " ".join(capsys.readouterr().out.split())
    assert "other 2 workers are Byzantine in each step, so that in the long run all of them lie as often" in out
    assert "more than q" not in out


def test_only_the_verdicts_of_the_table_are_explained(tmp_path, capsys):
    blame([str(_run(tmp_path, [_entry(1, "lied", 3)]).path)])
    out = capsys.readouterr().out
    assert "\nproven: " in out
    assert not any(f"\n{verdict}: " in out for verdict in ("suspect", "absent", "no proof"))


def test_a_proof_holds_whatever_was_assumed(tmp_path, capsys):
    folder = _run(tmp_path, [_entry(1, "lied", 3), _entry(2, "dissented", 4)], CONFIG.model_copy(update={"q": 0}))
    told, named = _verdicts(folder, capsys)
    assert (told["explained"], named) == (False, {3})


def test_a_cell_of_the_picture_shows_the_worst_of_its_steps_and_quarantine_lasts():
    entries = [
        _entry(1, "silent", 0), _entry(2, "lied", 0), _entry(4, "late", 0), _entry(3, "quarantined", 1),
        _entry(5, "late", 1), _entry(7, "malformed", None, rank=2),
    ]  # fmt: skip
    levels = severity(entries, p=2, unnamed=[2], steps=6, width=2)
    kinds = np.array(list(KINDS))[levels].tolist()
    assert kinds == [
        ["lied", "late", "agreed", "agreed"],
        ["agreed", "quarantined", "late", "quarantined"],
        ["agreed", "agreed", "agreed", "malformed"],
    ]


def test_every_kind_has_a_colour_of_its_own():
    assert set(COLOURS) == set(KINDS)
    assert len(set(COLOURS.values())) == len(KINDS)


def test_the_picture_is_made_even_of_a_host_with_a_strange_name(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    folder = _run(tmp_path, [*ENTRIES, {**_entry(2, "late", 1), "host": "$\\frac[bold]$"}])
    picture = tmp_path / "deep" / "a.png"
    assert blame([str(folder.path), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "$\\frac[bold]$" in capsys.readouterr().out


WRONG = diagnose(
    [(0, np.ones(40, np.float32), np.where(np.arange(40) % 4, 1, 0).astype(np.float32))], [("fc.weight", 40)]
)
EXAMINED = _entry(3, "examined", 4, file=1, detail="what it claimed, beside the vote", diagnosis=asdict(WRONG))


def test_what_a_dissenter_computed_is_told_and_is_no_further_offence(tmp_path, capsys):
    folder = _run(tmp_path, [_entry(3, "dissented", 4), EXAMINED])
    assert blame([str(folder.path)]) == 0
    out = capsys.readouterr().out
    rows = _cells(out)
    assert rows[2] == ["4", "2", "host2", "1", "59", "3", "transient", "no", "proof"]
    (told,) = (row for row in rows if "fc.weight" in row)
    one = f"{int(np.float32(1).view(np.uint32)):.3g}"
    assert told == ["4", "2", "host2", "3", "vote", "10", "10", "4", one, "fc.weight", "(10)"]
    assert blame([str(folder.path), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["examined"]
    assert entry["diagnosis"]["zeros"] == 10
    log = Log.read(folder.path)
    assert heatmap(log.entries, CONFIG, 60, log.contradictions, 2)


def test_a_diagnosis_that_is_none_is_told_in_one_line(tmp_path, capsys):
    folder = _run(tmp_path, [{**EXAMINED, "diagnosis": {"entries": "many"}}])
    assert main.run("blame", [str(folder.path)]) == 2
    assert "ledger.jsonl: line 1: diagnosis" in capsys.readouterr().err


def _disagreed(step, *workers, against):
    """The lines of a vote that those against lost."""
    return [_entry(step, "dissented", worker, file=0, others=list(workers)) for worker in against]


FIXED = CONFIG.model_copy(update={"attack": CONFIG.attack.model_copy(update={"placement": "fixed"})})
GRAPH = [
    *_disagreed(1, 0, 1, against=[5]),  # two colluders won
    *_disagreed(2, 6, 7, against=[0]),
    *_disagreed(3, 6, 7, against=[0]),
    *_disagreed(3, 5, 8, against=[1]),
]


def test_who_must_have_lied_is_told_with_whom_it_contradicted_whoever_won_the_vote(tmp_path, capsys):
    folder = _run(tmp_path, GRAPH, FIXED)
    assert blame([str(folder.path)]) == 0
    out = capsys.readouterr().out
    rows = _cells(out)
    assert ["0", "3", "6", "(2),", "7", "(2),", "5", "(1)", "5,", "6,", "7"] in rows
    assert ["1", "2", "5", "(2),", "8", "(1)", "5,", "8"] in rows
    assert "2 workers must have, if at most q = 2 have" in out
    assert [row[-1] for row in rows[2:5]] == ["proven", "proven", "proof"]


def test_json_has_the_graph_and_what_it_proves_if_so_many_lied(tmp_path, capsys):
    folder = _run(tmp_path, GRAPH, FIXED)
    told, named = _verdicts(folder, capsys)
    assert named == {0, 1}
    assert told["contradictions"] == {
        "edges": [[0, 6, 2], [0, 7, 2], [1, 5, 2], [0, 5, 1], [1, 8, 1]],
        "proven": {"0": [5, 6, 7], "1": [5, 8]},
        "exceeded": "",
        "why_not": "",
    }
    told, named = _verdicts(folder, capsys, "-q", "1")
    assert (told["explained"], told["q_at_least"], named) == (False, 2, set())
    assert told["contradictions"]["exceeded"].startswith("one of each of these has lied")
    assert _verdicts(folder, capsys, "-q", "4")[0]["contradictions"]["proven"] == {}


def test_what_the_ps_proved_stands_where_the_graph_alone_says_nothing(tmp_path, capsys):
    entries = [*GRAPH, _entry(4, "proven", 0, others=[5, 6, 7])]
    folder = _run(tmp_path, entries, CONFIG.model_copy(update={"worker_momentum": 0.9}))
    told, named = _verdicts(folder, capsys)
    assert (named, told["contradictions"]["proven"]) == ({0}, {"0": [5, 6, 7]})
    assert told["contradictions"]["why_not"].startswith("worker_momentum: ")
    blame([str(folder.path)])
    assert "nobody is proven here: worker_momentum" in capsys.readouterr().out


def test_with_a_window_q_does_not_bound_a_whole_run(tmp_path, capsys):
    quarantine = FIXED.quarantine.model_copy(update={"policy": "graph", "window": 7})
    told, named = _verdicts(_run(tmp_path, GRAPH, FIXED.model_copy(update={"quarantine": quarantine})), capsys)
    assert (told["contradictions"]["proven"], named) == ({}, set())
    assert "within 7 steps, not in the run" in told["contradictions"]["why_not"]


def test_a_large_graph_is_told_in_a_few_rows(tmp_path, capsys):
    config = FIXED.model_copy(update={"p": 45, "q": 5})
    entries = [_entry(1, "dissented", worker, 1, others=[40]) for worker in range(30)]
    folder = _run(tmp_path, entries, config)
    blame([str(folder.path)])
    out = capsys.readouterr().out
    assert "19 more workers contradicted others" in out
    assert "5 (1), 6 (1), 7 (1), ..." in out


def test_the_picture_has_the_graph_beside_the_steps(tmp_path):
    pytest.importorskip("matplotlib")
    log = Log.read(_run(tmp_path, GRAPH, FIXED).path)
    figure = heatmap(log.entries, log.config, log.steps, log.contradictions, log.q)
    _, graph = figure.axes
    assert len(graph.lines) == 5
    assert [text.get_text() for text in graph.texts] == list(map(str, range(9)))


AUDITED = Config(
    name="audited", p=15, q=2, r=1, steps=100, audit=AuditConfig(workers=2, trust="earned"),
    aggregator=AggregatorConfig(name="median"), attack=AttackConfig(placement="fixed"),
)  # fmt: skip
AUDITS = [
    *_disagreed(1, 1, 8, against=[14]),  # the holder is honest; its auditor and the third are not
    *_disagreed(2, 3, 6, against=[1]),
    *_disagreed(3, 2, 11, against=[1]),
    *_disagreed(4, 5, 13, against=[8]),
]


@pytest.mark.parametrize("trust", ["never", "earned"])
@pytest.mark.parametrize("options", [[], ["-q", "3"], ["-q", "5"]])
def test_an_honest_worker_that_lost_an_audit_to_two_byzantine_is_not_suspect(tmp_path, capsys, trust, options):
    config = AUDITED.model_copy(update={"audit": AuditConfig(workers=2, trust=trust)})
    told, named = _verdicts(_run(tmp_path, AUDITS, config), capsys, *options)
    assert told["explained"]
    assert told["q_at_least"] <= 2
    assert 14 not in named
    assert named == {1, 8} or options == ["-q", "5"]


def test_with_one_byzantine_worker_nobody_honest_loses_an_audit(tmp_path, capsys):
    folder = _run(tmp_path, [_entry(1, "dissented", 3)], AUDITED.model_copy(update={"q": 1}))
    blame([str(folder.path)])
    out = " ".join(capsys.readouterr().out.split())
    assert "never the majority of the 3 of an audited file: one dissent makes a worker suspect" in out


def test_what_is_concluded_is_one_thing_and_the_last_of_its_tables(tmp_path, capsys):
    # Who contradicts whom fits q = 2; that worker 4 dissented in each step does not.
    entries = [*GRAPH, *(_entry(step, "dissented", 4) for step in range(1, 61))]
    folder = _run(tmp_path, [*entries, *(_entry(step, "dissented", 3) for step in range(1, 61))], FIXED)
    told, named = _verdicts(folder, capsys)
    assert (told["explained"], told["q_at_least"], named) == (False, 3, set())
    assert told["contradictions"]["proven"] == {}
    blame([str(folder.path)])
    out = capsys.readouterr().out
    assert "There are 3 at least" in out
    assert "must have" not in out
    assert "suspect:\n" not in out
    assert "Which, does not follow" in out
