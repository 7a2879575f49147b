"""The methods that experiments/cluster.sh compares are runs that there are; a row is the difference of two readings."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from detox.launch.train import parse

ROOT = Path(__file__).parents[2]


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
        assert config.transport.relay == ("relay" if method.startswith("relay") else "star")
        assert len(config.fault.kind) == 5 * (method == "relay, hostile")
        assert config.servers == cluster.servers_of(method)


def test_all_methods_leave_45_hosts_for_workers(cluster):
    options = cluster.options_of([])
    assert cluster.workers_of(options) == 45
    assert f"n=${{HOSTS:-{options.n}}}" in (ROOT / "experiments" / "cluster.sh").read_text()


def test_hosts_that_no_method_can_use_are_refused_before_the_start(cluster, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["experiments.cluster", "-n", "8", "--methods", "relay", "Allreduce"])
    assert cluster.main() == 2
    assert capsys.readouterr().err.startswith("cluster: p = 7 workers cannot be split into groups of r = 3")


def test_a_row_has_what_a_step_took_on_the_links_of_the_ps_and_of_workers(cluster, meter):
    before = meter.Reading(1.0, (0.5, 2.0), ((0, 10), (1, 1), (2, 2), (3, 3)))
    after = meter.Reading(3.5, (0.75, 2.125), ((7, 110), (1, 11), (4, 2), (103, 8)))
    row = cluster.row_of(before, after, 1, 3)
    assert row == ("2.500", "0.250", 7, 100, 2, 5, 100, 10)
    row = cluster.row_of(before, after, 2, 1)  # and a host that has no part
    assert row == ("2.500", "0.250", 7, 100, 2, 0, 2, 0)


def test_the_cpu_time_of_the_busiest_server_counts(cluster, meter):
    links = ((0, 0),) * 4
    row = cluster.row_of(meter.Reading(1.0, (0.5, 2.0), links), meter.Reading(3.5, (0.75, 2.5), links), 2, 2)
    assert row[1] == "0.500"


def test_the_system_says_of_a_process_what_that_one_says_itself(meter):
    before, told, after = time.process_time(), meter.cpu_of(os.getpid()), time.process_time()
    tick = 2 / os.sysconf("SC_CLK_TCK")
    assert before - tick <= told <= after + tick


@pytest.mark.parametrize("failing", ["up", "run", "down"])
def test_the_kernels_limits_are_put_back_whatever_fails(tmp_path, failing):
    limits = tmp_path / "gc_thresh"
    before = {f"{limits}{i}": f"{128 * i}\n" for i in (1, 2, 3)}
    for path, text in before.items():
        Path(path).write_text(text)
    for folder in ("experiments", "launch"):
        (tmp_path / folder).mkdir()
    text = (
        (ROOT / "experiments" / "cluster.sh")
        .read_text()
        .replace("/proc/sys/net/ipv4/neigh/default/gc_thresh", str(limits))
    )
    (tmp_path / "experiments" / "cluster.sh").write_text(text)
    network = tmp_path / "launch" / "namespaces.sh"
    network.write_text(f'#!/bin/sh\necho "$1" >> did\ncat gc_thresh* >> seen\n[ "$1" != {failing} ]\n')
    network.chmod(0o755)
    environment = os.environ | {"HOSTS": "2", "TMPDIR": str(tmp_path)}
    job = subprocess.run(["bash", str(tmp_path / "experiments" / "cluster.sh")], env=environment, check=False)
    assert (job.returncode != 0) == (failing != "down")
    assert (tmp_path / "did").read_text().split()[-1] == "down"
    assert (tmp_path / "seen").read_text().split()[:3] == ["8192", "16384", "24576"]
    assert {path: Path(path).read_text() for path in before} == before
    assert not list(tmp_path.glob("tmp.*"))
