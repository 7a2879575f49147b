"""The constants of the hierarchical step's errors against what statistics says of them."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("experiments.hierarchy_rates")


def test_without_byzantine_workers_each_pair_has_the_constant_of_its_medians(experiment):
    p, d, repetitions = 5500, 60, 8
    cells = [experiment.errors(p, 0, d, repetition, seed=1) for repetition in range(repetitions)]
    # The median of m values with the density f at their median has the variance 1 / (4 m f^2). There are m = p / 33
    # values, and a vote has the variance 1 / 11: f is that of the mean of three votes, or of the median of three, whose
    # density at 0 is 6 / 4 of the normal one.
    median_of_three = 3 / (4 * (1.5 / math.sqrt(2 * math.pi)) ** 2)
    for name, factor in (("mean in 3, median", math.pi / 2), ("median in 3, median", median_of_three)):
        found = np.mean([cell[name] ** 2 for cell in cells])
        assert found == pytest.approx(factor * d / p, rel=4 * math.sqrt(2 / (repetitions * d))), name
    assert set(cells[0]) == set(experiment.PAIRS)


def test_the_table_tells_what_workers_and_dimension_change(experiment):
    medians = {
        (p, d): dict.fromkeys(experiment.PAIRS, 2 * math.sqrt(d / p))
        for p in experiment.WORKERS
        for d in experiment.DIMENSIONS
    }
    for row in experiment.table(medians):
        assert list(row.values())[1:] == ["2.00"] * 4 + ["3.16 times less", "2.24 times more"]
