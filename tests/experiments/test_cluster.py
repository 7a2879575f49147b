"""The methods that experiments/cluster.sh compares are runs that there are; a row is the difference of two readings."""

import pytest

from detox.launch.train import parse


@pytest.fixture
def cluster(script):
    return script("experiments.cluster")


@pytest.fixture
def meter(script):
    return script("experiments.meter")


def test_each_method_is_a_run_that_can_be_started(cluster):
    options = cluster.options_of(["--steps", "4", "--options", "seed=3"])
    for method in cluster.METHODS:
        config, _ = parse(cluster.arguments(method, 45, options))
        assert (config.p, config.steps, config.seed) == (45, 5, 3)
        assert (config.transport.relay == "relay") == method.startswith("relay")
        assert len(config.fault.kind) == 5 * (method == "relay, hostile")


def test_a_row_has_what_a_step_took_on_the_links_of_the_ps_and_of_workers(cluster, meter):
    before = meter.Reading(1.0, 0.5, ((0, 10), (1, 1), (2, 2), (3, 3)))
    after = meter.Reading(3.5, 0.75, ((7, 110), (1, 11), (4, 2), (103, 8)))
    row = cluster.row_of(before, after)
    assert row == ("2.500", "0.250", 7, 100, 2, 5, 100, 10)
