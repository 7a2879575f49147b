"""The errors of the synthetic experiment against what statistics says of them."""

import importlib
import math
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("experiments.mean_estimation")


def repeated(experiment, q, d, p=5500, repetitions=8):
    cells = [experiment.errors(p, q, 11, 3, d, repetition, seed=1) for repetition in range(repetitions)]
    return {name: np.array([cell[name] for cell in cells]) for name in cells[0]}


@pytest.mark.parametrize("d", [20, 60])
def test_without_byzantine_workers_the_errors_are_those_of_a_mean_and_of_medians(experiment, d):
    found = repeated(experiment, 0, d)
    assert not found["bad votes"].any()
    # d/p for the mean; pi/2 times that for the median of normal entries; in between, near the mean, for the
    # geometric median. A sum of 8d squared normals has a relative deviation of sqrt(2 / 8d) <= 0.12.
    for name, factor in (
        ("honest", 1),
        ("median", math.pi / 2),
        ("d-median", math.pi / 2),
        ("geometric_median", 1.02),
        ("d-geometric_median", 1.02),
    ):
        assert np.mean(found[name] ** 2) == pytest.approx(factor * d / 5500, rel=4 * math.sqrt(2 / (8 * d))), name


@pytest.mark.parametrize("d", [20, 60])
def test_byzantine_vectors_move_the_plain_medians_by_what_their_share_says(experiment, d):
    p, q = 5500, 500
    found = repeated(experiment, q, d, p)
    # Half of all rows lie below: of the honest a share of p / 2(p - q), in every coordinate.
    shift = math.sqrt(d) * statistics.NormalDist().inv_cdf(p / (2 * (p - q)))
    assert np.median(found["median"]) == pytest.approx(shift, rel=0.1)
    # The honest unit vectors pull back by |y| / sqrt(d) each, about; the Byzantine ones are q to p - q.
    assert np.median(found["geometric_median"]) == pytest.approx(math.sqrt(d) * q / (p - q), rel=0.1)


def test_detox_has_the_errors_of_no_attack_while_no_vote_is_bad(experiment):
    attacked, calm = repeated(experiment, 500, 20), repeated(experiment, 0, 20)
    good = attacked["bad votes"] == 0
    assert good.sum() >= 4
    for name in ("d-median", "d-geometric_median"):
        np.testing.assert_array_equal(attacked[name][good], calm[name][good])
        assert attacked[name].max() < 0.2 * attacked["median"].min()


def test_it_runs_from_end_to_end_and_keeps_what_is_finished(experiment, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(experiment, "SIZES", {"tiny": (1100, 2)})
    arguments = ["mean_estimation", "tiny", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    experiment.main()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert len(files) == 2 * 10
    assert (tmp_path / "tiny.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "tiny.csv").read_text().splitlines()) == 1 + 2 * 10
    first = capsys.readouterr().out
    experiment.main()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()} == files
    assert capsys.readouterr().out == first
    monkeypatch.setattr(sys, "argv", [*arguments, "--no-resume"])
    experiment.main()
    assert all(path.stat().st_mtime_ns > before for path, before in files.items())
    assert capsys.readouterr().out == first
