"""Both simulations of bad votes against enumeration, and the paper's bounds."""

import itertools
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from detox.assignment.theory import enough_redundancy, expected_bad_votes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def experiment(script):
    return script("experiments.theory")


def every_placement(p, q, r):
    """P(q_e = k) for k = 0, 1, ..., by trying them all."""
    groups = [range(j * r, (j + 1) * r) for j in range(p // r)]
    counts = [0] * (p // r + 1)
    for chosen in itertools.combinations(range(p), q):
        counts[sum(2 * len(set(chosen) & set(group)) > r for group in groups)] += 1
    return [Fraction(count, sum(counts)) for count in counts]


@pytest.mark.parametrize(("p", "q", "r"), [(9, 3, 3), (12, 6, 3), (10, 5, 5), (6, 3, 1)])
@pytest.mark.parametrize("name", ["system", "draws"])
def test_simulated_bad_votes_are_as_frequent_as_among_all_placements(experiment, name, p, q, r):
    cell = experiment.simulate(p, q, r, draws=20_000, steps=1_000, seed=3)
    counts = cell[name]
    exact = every_placement(p, q, r)
    assert len(counts) <= len(exact)
    assert cell["exact"] == pytest.approx([float(chance) for chance in exact])
    for count, chance in zip(counts, exact, strict=False):
        assert binomtest(count, sum(counts), float(chance)).pvalue > 1e-4


def test_the_worst_placement_is_the_formula_s(experiment):
    for p, q, r in [(45, 5, 3), (45, 5, 5), (45, 0, 3), (9, 9, 3)]:
        assert experiment.worst_bad_votes(p, q, r, seed=0) == min(p // r, q // ((r + 1) // 2))


def test_a_simulation_that_is_off_is_told(experiment):
    cell = {"p": 45, "q": 5, "r": 3} | experiment.simulate(45, 5, 3, draws=20_000, steps=500, seed=0)
    right = experiment.compare(cell)
    assert min(right["p-values"]) > 1e-4
    assert abs(right["draws E"] - float(expected_bad_votes(45, 5, 3))) < 5 * right["draws error"]
    skewed = experiment.drawn_bad_votes(45, 6, 3, 20_000, np.random.default_rng(0))
    assert min(experiment.compare(cell | {"draws": np.bincount(skewed).tolist()})["p-values"]) < 1e-9


def test_the_least_r_has_enough_redundancy_and_no_lower_one(script):
    least_r = script("experiments.theory_figure").least_r
    assert [least_r(q) for q in (1, 2, 3, 5, 8, 9, 64)] == [3, 5, 7, 9, 9, 11, 15]
    assert all(enough_redundancy(q, least_r(q)) and not enough_redundancy(q, least_r(q) - 2) for q in range(1, 200))


def test_it_runs_from_end_to_end_and_keeps_what_is_finished(experiment, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(experiment, "SIZES", {"tiny": (50, 3)})
    monkeypatch.setattr(experiment, "WORKERS", (45, 90, 135))
    monkeypatch.setattr(sys, "argv", ["theory", "tiny", "--output", str(tmp_path)])
    experiment.main()
    first = capsys.readouterr().out
    assert "Worst placement off the formula in 0 of 48." in first
    assert (tmp_path / "tiny.png").read_bytes().startswith(b"\x89PNG")
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert len(files) == 48
    experiment.main()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()} == files
    assert capsys.readouterr().out == first


def test_a_kept_result_that_is_damaged_is_made_again(experiment, tmp_path):
    kept = experiment.kept

    def compute(p):
        return {"p": p}

    assert kept(compute, tmp_path, True, p=3) == {"p": 3}
    for damage in (b"", b'{"p"', b"\xff"):
        (tmp_path / "p3.json").write_bytes(damage)
        assert kept(compute, tmp_path, True, p=3) == {"p": 3}
    (tmp_path / "p3.json").write_bytes(b'{"p": 4}')
    assert kept(compute, tmp_path, True, p=3) == {"p": 4}
    assert kept(compute, tmp_path, False, p=3) == {"p": 3}
