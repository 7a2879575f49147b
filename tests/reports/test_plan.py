import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

import detox
from detox.aggregators import AggregatorError, create_hierarchy
from detox.assignment.theory import bad_votes, exceeds
from detox.config import ConfigError
from detox.launch import main
from detox.reports.forecast import Setting, bytes_into_ps, find, forecast, tolerated
from detox.reports.plan import plan
from detox.reports.plan_chart import chart
from detox.wire import Codec, Header, Kind, digest_of

QUICKLY = ["--no-measure", "--runs", "0"]
PAPERS = ["-p", "45", "-q", "5", "-r", "3", *QUICKLY]
PAGE = Path(__file__).parents[2] / "docs" / "plan.md"


def test_the_page_shows_what_the_command_prints(capsys):
    text = PAGE.read_text()
    command, shown = text.split("```\n$ detox-ps ", 1)[1].split("```", 1)[0].split("\n", 1)
    assert plan(command.split()[1:]) == 0
    printed = capsys.readouterr().out
    assert [line.rstrip() for line in shown.splitlines()] == [line.rstrip() for line in printed.splitlines()]


@pytest.mark.parametrize("name", ["median", "bulyan", "d-multi-krum", "mean"])
def test_what_an_aggregator_tolerates_is_the_greatest_f_that_it_accepts(name):
    f = tolerated(name, 15)
    create_hierarchy(name).check(15, f)
    for more in range(f + 1, 16):
        with pytest.raises(AggregatorError):
            create_hierarchy(name).check(15, more)


def test_where_votes_are_too_few_nothing_is_stood():
    found = forecast(Setting(15, 3, 3), "d-multi-krum")
    assert (found.tolerates, found.any_placement, found.failure) == (-1, -1, 1.0)


def test_the_placement_that_fails_is_the_first_beyond_what_any_placement_may_have():
    setting = Setting(45, 5, 3)
    found = forecast(setting, "median")
    assert Setting(45, found.any_placement, 3).worst == found.tolerates
    assert Setting(45, found.any_placement + 1, 3).worst == found.tolerates + 1


def test_a_failure_in_many_steps_is_one_in_any_of_them():
    share = float(exceeds(bad_votes(45, 5, 3), 0))
    assert Setting(45, 5, 3).failure(0) == pytest.approx(share)
    assert Setting(45, 5, 3, steps=7).failure(0) == pytest.approx(1 - (1 - share) ** 7)
    assert Setting(45, 5, 9, steps=10**6).failure(1) == 0
    assert Setting(45, 45, 3).failure(0) == 1


def test_the_least_r_meets_the_wish_and_no_lesser_one_does():
    setting = Setting(45, 5, 3)
    assert find(setting, "mean", 0.05) == 9
    assert forecast(Setting(45, 5, 9), "mean").failure <= 0.05 < forecast(Setting(45, 5, 5), "mean").failure
    assert find(setting, "mean", 0.0) == 15
    assert find(Setting(45, 23, 3), "mean", 0.5) is None


@pytest.mark.parametrize("r", [1, 3])
def test_the_bytes_are_those_of_the_messages(r):
    d, setting = 100, Setting(9, 1, r)
    vector = np.zeros(d, np.float32)
    gradient = len(Header(Kind.GRADIENT).pack(4 * d)) + len(Codec(d, "none").encode(vector))
    claim = len(Header(Kind.CLAIM).pack(32)) + len(digest_of(vector))
    mine = 9 * gradient if r == 1 else 9 * claim + 3 * gradient
    assert bytes_into_ps(setting, d) == (mine, 9 * gradient)


def test_votes_that_byzantine_workers_withhold_can_leave_too_few_as_the_page_says():
    assert (tolerated("d-multi-krum", 15), tolerated("d-multi-krum", 13)) == (2, 1)


@pytest.mark.parametrize(
    ("line", "words", "holds"),
    [
        ("-p 45 -q 5 -r 9", "1 on average and the column above, hold here", (True, True)),
        ("-p 1125 -q 375 -r 25", "at q/p = 0.33 1 on average does not hold", (False, True)),
        ("-p 45 -q 40 -r 15", "at q/p = 0.89 1 on average and the column above do not hold", (False, False)),
        ("-p 45 -q 5 -r 3", "take r >= 3 + 2 log2(q) = 7.6", (None, None)),
    ],
)
def test_it_says_whether_the_papers_bounds_hold_here(line, words, holds, capsys):
    arguments = [*line.split(), *QUICKLY, "--aggregator", "median"]
    assert plan(arguments) == 0
    assert words in capsys.readouterr().out
    assert plan([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["paper_mean_bound_holds"], facts["paper_tail_bound_holds"]) == holds


def test_the_chart_has_no_bound_that_does_not_hold_and_reaches_q():
    pytest.importorskip("matplotlib")
    for q, shown in ((5, True), (40, False)):
        setting = Setting(45, q, 15)
        figure = chart(setting, [forecast(setting, "median")])
        labels = figure.axes[0].get_legend_handles_labels()[1]
        reached = max(figure.axes[1].lines[0].get_xdata())
        pyplot = importlib.import_module("matplotlib.pyplot")
        pyplot.close(figure)
        assert any("bound" in label for label in labels) == shown
        assert reached == max(22, q)


def test_a_rule_that_refuses_to_be_timed_has_no_seconds(capsys):
    # smea takes 15 votes, but not the subsets of 45.
    assert plan(["-p", "45", "-q", "5", "-d", "50", "--runs", "0", "--aggregator", "smea", "--json"]) == 0
    (smea,) = json.loads(capsys.readouterr().out)["aggregators"]
    assert smea["seconds"] > 0
    assert smea["vanilla_seconds"] is None


def test_a_chart_that_cannot_be_written_is_told_in_words(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "file").touch()
    assert main.run("plan", ["-p", "9", "-q", "1", *QUICKLY, "--plot", str(tmp_path / "file" / "a.png")]) == 2
    said = capsys.readouterr().err
    assert "a.png: " in said
    assert said.count("\n") == 1


SETTING = ("-p", "45", "-q", "5", "-r", "9")


def test_json_says_all_that_the_tables_say_in_numbers(capsys):
    assert (
        plan([*SETTING, "-d", "1000", "--find", "0.1", "--aggregator", "median", "bulyan", "--runs", "0", "--json"])
        == 0
    )
    facts = json.loads(capsys.readouterr().out)
    assert facts["votes"] == 5
    assert sum(facts["distribution"]) == pytest.approx(1)
    assert facts["paper_bound_applies"]
    # With delta = exp(-1/2), at most 1 + 2 ln(1/delta) = 2 bad votes; with any greater delta, fewer than 2.
    assert facts["paper_tail_bound"][:3] == pytest.approx([1, 1, math.exp(-1 / 2)])
    median, bulyan = facts["aggregators"]
    assert (median["tolerates"], median["least_r"], bulyan["tolerates"]) == (2, 1, 0)
    assert median["seconds"] > 0
    assert bulyan["vanilla_seconds"] > 0


def test_the_chart_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    assert plan([*PAPERS, "--plot", str(tmp_path / "deep" / "plan.png")]) == 0
    assert (tmp_path / "deep" / "plan.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-p 44 -q 5", "take p >= 45"),
        ("-p 45 -q 5 -r 4", "r = 4 is even"),
        ("-p 45 -q 46", "q = 46 Byzantine workers, but there are only p = 45"),
        ("-p 45 -q -1", "-q is at least 0, got -1"),
        ("-p 0 -q 0", "-p is at least 1, got 0"),
        ("-p 15 -q 2 -r -3", "-r is at least 1, got -3"),
        ("-p 45 -q 5 --steps 0", "--steps is at least 1, got 0"),
        ("-p 999 -q 5 -d 100000000000", "--no-measure"),
        ("-p 45 -q 5 --aggregator nonsense", "unknown aggregator 'nonsense'"),
        ("-p 45 -q 5 --find 2", "a probability, 0 to 1"),
        ("-p 45 -q 5 --find cheap", "--find cheap: a probability, or a limit such as overhead=3%"),
        ("-p 45 -q 5 --find 0.1 0.2", "--find takes one probability"),
        ("-p 45 -q 5 --find price=3", "there is no price; there are overhead, named, byzantine, bad"),
        ("-p 45 -q 5 --find overhead=much", "overhead is a number from 0 on, as in overhead=3%"),
        ("-p 45 -q 5 --find named=-1", "named is a number from 0 on, as in named=100"),
        ("-p 45 -q 5 --rate 0", "--rate is above 0 and at most 1"),
        ("-p 45 -q 5 --runs -1", "--runs at least 0"),
        ("-p 45 -q 5 -d 0", "-d is at least 1"),
        ("-p 45 -q 5 -d 99999999999999999999", "-d is at least 1 and at most"),
        ("-p 45 -q 5 --find nan", "a probability, 0 to 1"),
        ("-p 99999999999999999999 -q 1", "-p is at most 65536"),
        ("-p 45 -q 99999999999999999999", "-q is at most 65536"),
        ("-p 45 -q 5 --steps 99999999999999999999", "--steps is at most 4294967295"),
        ("-p 65535 -q 20000 --no-measure", "counting the placements exactly would take"),
        ("-p 9999 -q 1", "more than 1000 gradients are not timed; --no-measure"),
        ("-p 9999 -q 200 -r 909 --no-measure --find 0 --aggregator mean", "--find: at r = 3 counting"),
        ("-p 45 -q 5 --classes -1 46", "--classes"),
    ],
)
def test_a_mistake_is_told_in_words(line, words, capsys):
    assert main.run("plan", line.split()) == 2
    assert words in capsys.readouterr().err


def test_as_many_workers_as_a_run_may_have_are_planned_for_in_a_table_of_few_rows(capsys):
    assert plan(["-p", "65536", "-q", "65536", "-r", "1", *QUICKLY]) == 0
    printed = capsys.readouterr().out
    assert "65536 rows, below 1e-12 or beyond 60, are left out" in printed
    assert printed.count("\n") < 40


@pytest.mark.parametrize("line", ["-p 45 -q 0 -r 45", "-p 1 -q 1 -r 1", "-p 1 -q 0 -r 1", "-p 3 -q 3 --find 0"])
def test_a_chart_of_the_extremes_is_drawn_without_a_warning(line, tmp_path):
    pytest.importorskip("matplotlib")
    assert plan([*line.split(), *QUICKLY, "--plot", str(tmp_path / "a.svg")]) == 0
    assert (tmp_path / "a.svg").read_bytes().startswith(b"<?xml")


def test_within_classes_votes_are_lost_and_said(capsys):
    command = [*PAPERS, "--classes", "20", "20", "5"]
    assert plan(command) == 0
    printed = capsys.readouterr().out
    assert "in 13 groups of 3 within classes of 20, 20, 5; 6 have nothing to do, and 2 votes are lost." in printed
    assert plan([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["votes"], facts["idle"]) == (13, 6)
    assert facts["expected_bad_votes"] == pytest.approx(0.43340 * 13 / 15, abs=1e-5)


@pytest.mark.parametrize(("classes", "words"), [("20 20", "add up to p = 45, got 40"), ("1 " * 45, "none of them")])
def test_classes_that_cannot_be_are_told(capsys, classes, words):
    assert main.run("plan", [*PAPERS, "--classes", *classes.split()]) == 2
    assert words in capsys.readouterr().err


def test_from_python_the_plan_is_what_the_command_prints_as_json(capsys):
    assert plan(["-p", "15", "-q", "2", "-d", "100", "--find", "0.1", *QUICKLY, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(
        json.dumps(detox.plan(15, 2, d=100, find=0.1, runs=0, measure=False))
    )
    with pytest.raises(detox.UserError, match="-q is at most"):
        detox.plan(15, 10**9)


def test_the_first_thing_it_says_is_what_to_take(capsys):
    assert plan(["-p", "15", "-q", "2", "--no-measure", "--runs", "5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert plan(["-p", "15", "-q", "2", "--no-measure", "--runs", "5"]) == 0
    first = capsys.readouterr().out.split("\n\n")[0]
    for name in ("hardware", "byzantine"):
        taken = next(one for one in facts["choices"] if one["set"] == facts["advised"][name])
        assert f"{taken['set']}, for {100 * taken['overhead']:.1f} % more computation" in first
    assert plan(["-p", "15", "-q", "0", "-r", "1", *QUICKLY]) == 0
    assert "nothing has to be checked: r = 1." in capsys.readouterr().out


def test_it_says_what_keeps_the_limits_and_else_what_it_would_cost(capsys):
    for limits, words in (
        ("overhead=10% named=40", "The cheapest with overhead 0.1, named 40: "),
        ("overhead=1% named=40", "without the limit of the overhead it is "),
        ("named=0", "Nothing keeps named 0."),
    ):
        assert plan([*["-p", "15", "-q", "2", "--no-measure", "--runs", "5", "--find"], *limits.split()]) == 0
        assert words in capsys.readouterr().out
    facts = detox.plan(15, 2, limits={"overhead": 0.1, "named": 40}, runs=5, measure=False)
    assert facts["found"]["overhead"] <= 0.1
    assert facts["found"]["fault"]["simulated"]["named"]["median"] <= 40


@pytest.mark.parametrize(("p", "q"), [(45, 23), (45, 45), (21, 11)])
def test_half_of_the_workers_or_more_are_answered_at_once_and_in_words(p, q, capsys):
    assert plan(["-p", str(p), "-q", str(q), "--no-measure"]) == 0
    out = capsys.readouterr().out
    assert "half of them or more" in out
    assert "simulated runs" not in out


def test_many_byzantine_workers_are_simulated_only_where_that_is_asked_for(capsys):
    assert plan(["-p", "99", "-q", "33", "--no-measure", "--find", "named=5"]) == 0
    assert "nothing was simulated, see --runs" in capsys.readouterr().out


def test_several_servers_get_a_part_of_the_votes_each(capsys):
    facts = detox.plan(45, 5, d=24 * 2**17, servers=4, measure=False, runs=0, aggregator=["mean"])
    assert facts["bytes_into_server"] == 15 * (32 + 4 * 6 * 2**17) + 45 * (32 + 4 * 32)
    assert "servers" not in detox.plan(45, 5, measure=False, runs=0, aggregator=["mean"])
    with pytest.raises(ConfigError, match=r"--servers: .* enough for 2"):
        detox.plan(45, 5, servers=3, measure=False, runs=0)
