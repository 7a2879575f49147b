"""Jobs over several hosts, which are network namespaces of this machine; takes root. See launch/namespaces.sh."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launch" / "namespaces.sh"
HOSTS = 4


class Network:
    """Hosts that belong to this test process alone."""

    name = f"detox-test{os.getpid()}-"

    def call(self, *arguments: str) -> str:
        line = [str(SCRIPT), *arguments]
        environment = {**os.environ, "DETOX_NET": self.name}
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def launch(self, jobs, hostfile: Path, *arguments: str):
        """Starts run.toml, without liars, with three workers a host."""
        inside = ["env", f"DETOX_NET={self.name}", str(SCRIPT), "run"]
        command = [sys.executable, "-m", "detox.launch", "launch", "--hostfile", hostfile.name, "run.toml"]
        options = ["--q", "0", "--workers-per-rank", "3", *arguments]
        return jobs.start_line([*inside, *command, *options], files=(hostfile,))


def why_not() -> str:
    """Why there can be no namespaces here; empty where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces take root on Linux"
    if shutil.which("ip") is None:
        return "there is no ip (iproute2)"
    probe = f"detox-probe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"ip netns add: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", probe], check=True)
    return ""


@pytest.fixture
def network():
    if why := why_not():
        pytest.skip(why)
    network = Network()
    try:
        yield network
    finally:
        network.call("down")


@pytest.fixture
def hostfile(network, tmp_path):
    path = tmp_path / "hosts"
    path.write_text(network.call("up", str(HOSTS)))
    return path


def test_four_hosts_train_to_the_bits_of_one(network, hostfile, jobs):
    job = network.launch(jobs, hostfile)
    assert job.wait() == 0, job.text
    summary = jobs.summary(job)
    here = jobs.run("--q", "0", n=HOSTS)
    names = [f"{network.name}{i}" for i in (2, 3, 4)]
    assert summary["hosts"] == [name for name in names for _ in range(3)]
    assert set(here["hosts"]).isdisjoint(names)
    assert summary["votes"] == here["votes"] == {"unanimous": 60, "majority": 0, "none": 0, "recomputed": 0}
    assert summary["weights_digest"] == here["weights_digest"]


def test_a_host_that_was_cut_off_for_a_while_agrees_again(network, hostfile, jobs):
    steps = 300
    # All workers dawdle, so that the run outlasts the cut by far: three times 20 ms a step on each host.
    pace = ["--fault.worker", *map(str, range(9)), "--fault.kind", "straggle", "--fault.seconds", "0.02"]
    job = network.launch(jobs, hostfile, "--steps", str(steps), "--transport.deadline", "3", *pace)
    job.wait_for("step  20")
    network.call("cut", "4")
    job.wait_for("step  60")
    network.call("mend", "4")
    assert job.wait() == 0, job.text
    (folder,) = job.folder.glob("runs/run-*")
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    silent = {
        worker: {e["step"] for e in lines if (e["worker"], e["kind"]) == (worker, "silent")} for worker in range(9)
    }
    lost = f"{network.name}4"
    for worker in (6, 7, 8):
        assert silent[worker] >= set(range(35, 55))
        assert max(silent[worker]) < steps - 20
    assert not any(silent[worker] for worker in range(6))
    assert {e["host"] for e in lines if e["kind"] == "silent"} == {lost}
    summary = jobs.summary(job)
    assert summary["dissents"] == {}
    assert math.isfinite(summary["test_loss"])
    assert summary["test_accuracy"] > 0.9
