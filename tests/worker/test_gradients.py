"""Which files of a rank are computed in one call."""

from types import SimpleNamespace

import numpy as np
import pytest

from detox.worker.gradients import Gradients, Wanted


class Model:
    """The gradient of a file is its first sample."""

    def __init__(self, files_at_once):
        self.files_at_once = files_at_once
        self.calls = []

    def compute_files(self, task, files):
        self.calls.append((task, [int(indices[0]) for indices, _ in files]))
        return [indices.astype(np.float32) for indices, _ in files]


def wanted(file, worker=-1, poisoned=False):
    return Wanted(file, worker, poisoned, np.array([file]), 0)


@pytest.fixture
def rank():
    def _rank(files_at_once, edges):
        model, clock = Model(files_at_once), SimpleNamespace(now=0.0)
        gradients = Gradients(model, "honest", "poisoned", lambda: clock.now)
        found = [gradients.take(edge, edges[at + 1 :]) for at, edge in enumerate(edges)]
        assert [int(vector[0]) for vector, _ in found] == [edge.file for edge in edges]
        return model.calls

    return _rank


def test_one_at_a_time_no_file_is_computed_that_is_not_asked_for(rank):
    assert rank(1, [wanted(2), wanted(5), wanted(2)]) == [("honest", [2]), ("honest", [5])]


def test_a_call_has_the_files_that_come_next_each_once(rank):
    edges = [wanted(file) for file in (2, 2, 5, 7, 5, 9)]
    assert rank(3, edges) == [("honest", [2, 5, 7]), ("honest", [9])]


def test_workers_that_compute_for_themselves_have_a_copy_each(rank):
    assert rank(4, [wanted(2, 0), wanted(2, 1), wanted(5, 1)]) == [("honest", [2, 2, 5])]


def test_poisoned_data_are_computed_apart(rank):
    edges = [wanted(2), wanted(2, poisoned=True), wanted(5), wanted(7, poisoned=True)]
    assert rank(4, edges) == [("honest", [2, 5]), ("poisoned", [2, 7])]
