"""The pictures of the docs: drawn from kept numbers, in one order, with one look and one spelling a method."""

import csv
from pathlib import Path
from statistics import median

import pytest

from detox.reports.drawn import as_table, read_table
from detox.reports.looks import COLOURS, SPELLINGS, Look, lines, plain, spelled

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures"
METHODS = ("alie-quick", "reversed-quick", "signsgd-quick", "step-time-quick")


@pytest.fixture
def figures(script):
    pytest.importorskip("matplotlib")
    return script("experiments.figures")


def _labels(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def test_every_picture_is_drawn_from_what_is_kept(figures, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["figures", "--to", str(tmp_path)])
    figures.main()
    assert {path.stem for path in tmp_path.iterdir()} == set(figures.FIGURES)
    assert all((FIGURES / f"{name}.png").is_file() for name in figures.FIGURES)


@pytest.mark.parametrize("name", METHODS)
def test_methods_stand_in_one_order_and_are_spelled_as_in_prose(figures, name):
    kept = read_table(FIGURES / f"{name}.csv")
    assert [one.look.order for one in kept] == [(at, not of) for at, of in _expected(kept)]
    assert all(part in SPELLINGS.values() for one in kept for part in one.label.split(", "))
    assert _labels(figures.FIGURES[name]().axes[0]) == [one.label for one in kept]


def _expected(kept):
    rules = list(COLOURS)
    return sorted(((rules.index(one.look.rule), one.look.detox) for one in kept), key=lambda of: (of[0], not of[1]))


def test_each_size_of_byzshield_has_its_assignments_in_one_order(figures):
    with (FIGURES / "byzshield-quick.csv").open(newline="") as file:
        kept = {(row["p"], figures.ASSIGNMENTS[row["name"]]) for row in csv.DictReader(file)}
    figure = figures.byzshield()
    panels = figure.axes
    assert len(panels) == len({p for p, _ in kept})
    for axes in panels:
        size = axes.get_title().split(",")[0].removeprefix("p = ")
        assert _labels(axes) == [label for label in figures.ASSIGNMENTS.values() if (size, label) in kept]
    (legend,) = figure.legends
    drawn = {line.get_label() for axes in panels for line in axes.get_lines()}
    assert {text.get_text() for text in legend.get_texts()} == drawn


def test_each_method_with_45_workers_has_a_bar_of_its_median_step(figures):
    with (FIGURES / "cluster.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [row for row in rows if (row["machine"], row["p"], row["rate"]) == ("Xeon", "45", "100mbit")]
    assert set(figures.CLUSTER) == {row["method"] for row in kept}
    (axes,) = figures.cluster().axes
    for bar, method in zip(axes.patches, figures.CLUSTER, strict=True):
        seconds = median(float(row["seconds"]) for row in kept if row["method"] == method)
        assert bar.get_width() == pytest.approx(seconds / 0.358, rel=2e-3)


def test_the_rows_of_the_attacks_go_from_the_best_worst_case_down(figures):
    worst = {}
    for one in read_table(FIGURES / "attacks-digits.csv"):
        worst[one.label] = min(worst.get(one.label, 1), one.scores["accuracy"][-1].value)
    labels = _labels(figures.FIGURES["attacks-digits"]().axes[0])
    assert set(labels) == set(worst)
    assert [worst[label] for label in labels] == sorted(worst.values(), reverse=True)


def test_the_map_of_attacks_has_every_defence_and_attack_of_the_kept_runs(figures):
    with (FIGURES / "attacks-quick.csv").open(newline="") as file:
        kept = [row for row in csv.DictReader(file) if row["q"] != "2" and row["split"] == "iid"]
    axes = figures.FIGURES["attacks-quick"]().axes[0]
    assert sorted(_labels(axes)) == sorted({spelled(row["method"]) for row in kept})
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert names == [*sorted({row["attack"].replace("alie, 1", "alie, z = 1") for row in kept}), "worst"]


def test_a_pair_has_the_colour_of_its_rule_and_a_solid_line():
    pair, rule, other = lines([Look.of("d-multi-krum", 3), Look.of("multi_krum", 1), Look.of("bulyan", 1)])
    assert pair["color"] == rule["color"] != other["color"]
    assert (pair["linestyle"], rule["linestyle"]) == ("-", "--")


def test_methods_that_would_look_the_same_are_told_apart():
    first, second = lines([Look.of("median", 3), Look.of("d-median", 3)])
    assert first["color"] != second["color"]


def test_a_name_of_a_config_is_spelled_as_in_prose_and_others_stay():
    assert spelled("d-multi-krum, p = 15") == "D-Multi-Krum, p = 15"
    assert spelled("detox, geometric-median") == "DETOX, geometric median"
    assert spelled("my run") == "my run"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.6, "0.6"), (2, "2"), (70000, "70,000"), (0.001, "0.001"), (1e-6, "$10^{-6}$"), (2e-4, "$2 \\cdot 10^{-4}$")],
)
def test_a_tick_is_a_plain_number(value, text):
    assert plain(value) == text


@pytest.mark.parametrize("name", METHODS)
def test_a_kept_table_written_again_draws_the_same(name, tmp_path):
    kept = read_table(FIGURES / f"{name}.csv")
    (tmp_path / "again.csv").write_text(as_table(kept))
    assert read_table(tmp_path / "again.csv") == kept
