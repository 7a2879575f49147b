import pytest


def test_the_power_of_p_is_that_of_the_workers_from_45_on(script):
    rows = [{"axis": "workers", "rule": "a", "p": p, "seconds": 3 * p**2} for p in (45, 90, 225)]
    rows += [{"axis": "workers", "rule": "a", "p": 9, "seconds": 1.0}]
    rows += [{"axis": "parameters", "rule": "a", "p": 45, "seconds": 7.0}]
    rows += [{"axis": "workers", "rule": "b", "p": str(p), "seconds": str(p / 7)} for p in (45, 225)]
    found = script("benchmarks.aggregation_cost").powers(rows)
    assert found == {"a": pytest.approx(2), "b": pytest.approx(1)}
