"""Jobs over several hosts, which are network namespaces of this machine; takes root. See launch/namespaces.sh."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
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
        """Starts run.toml with three workers a host."""
        inside = ["env", f"DETOX_NET={self.name}", str(SCRIPT), "run"]
        command = [sys.executable, "-m", "detox.launch", "launch", "--hostfile", hostfile.name, "run.toml"]
        return jobs.start_line([*inside, *command, "--workers-per-rank", "3", *arguments], files=(hostfile,))


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


def test_four_hosts_train_to_the_bits_of_one(network, hostfile, jobs, baseline):
    ssh = shutil.which("sshd") is not None
    if ssh:
        network.call("sshd")
        network.call("rate", "2", "1gbit")
    job = network.launch(jobs, hostfile)
    assert job.wait() == 0, job.text
    summary = jobs.summary(job)
    names = [f"{network.name}{i}" for i in (2, 3, 4)]
    assert summary["hosts"] == [name for name in names for _ in range(3)]
    assert set(baseline["hosts"]).isdisjoint(names)
    assert summary["weights_digest"] == baseline["weights_digest"]
    assert summary["votes"] == baseline["votes"]
    assert summary["dissents"] == baseline["dissents"]
    assert all(line["host"] == summary["hosts"][line["worker"]] for line in ledger(job))
    traffic = [list(map(int, line.split())) for line in network.call("traffic").splitlines()]
    assert [host for host, _, _ in traffic] == [1, 2, 3, 4]
    assert traffic[0][1] > summary["bytes_into_ps"]  # headers of TCP and IP too
    if not ssh:
        pytest.skip("mpirun reached the hosts, but not by real ssh: there is no sshd (openssh-server)")
    assert len((Path("/run") / f"{network.name}0" / "known").read_text().splitlines()) == HOSTS - 1


def test_a_host_that_was_cut_off_for_a_while_agrees_again(network, hostfile, jobs):
    # All workers dawdle, so that the run outlasts the cut by far: three times 20 ms per step on each host.
    pace = ["--fault.worker", *map(str, range(9)), "--fault.kind", "straggle", "--fault.seconds", "0.02"]
    job = network.launch(jobs, hostfile, "--q", "0", "--steps", "240", "--transport.deadline", "3", *pace)
    job.wait_for("step  20")
    network.call("cut", "4")
    job.wait_for("step  60")
    network.call("mend", "4")
    assert job.wait() == 0, job.text
    away, end = set(range(35, 50)), set(range(190, 241))
    silent = {(line["worker"], line["step"]) for line in ledger(job) if line["kind"] == "silent"}
    for worker in range(9):
        steps = {step for who, step in silent if who == worker}
        assert (steps >= away) == (worker in (6, 7, 8))
        # On a busy machine an honest rank may fall behind and leave out a step.
        assert len(steps & end) < len(end) / 2
    summary = jobs.summary(job)
    assert summary["dissents"] == {}
    assert math.isfinite(summary["test_loss"])
    assert summary["test_accuracy"] > 0.9


@pytest.mark.slow
def test_over_tcp_a_host_that_was_cut_off_dials_anew_and_agrees_again(network, hostfile, jobs):
    pace = ["--fault.worker", *map(str, range(9)), "--fault.kind", "straggle", "--fault.seconds", "0.03"]
    tcp = ["--transport.channel", "tcp", "--transport.absence", "600"]
    job = network.launch(jobs, hostfile, "--q", "0", "--steps", "500", "--transport.deadline", "3", *tcp, *pace)
    job.wait_for("step  20")
    network.call("cut", "4")
    time.sleep(15)  # a connection is given up after 10
    network.call("mend", "4")
    assert job.wait() == 0, job.text
    lines = ledger(job)
    assert {line["host"] for line in lines if line["kind"] == "joined"} == {"10.77.0.2", "10.77.0.3", "10.77.0.4"}
    back = {line["worker"]: line["step"] for line in lines if "is back" in line.get("detail", "")}
    assert back.keys() == {6, 7, 8}
    # On a busy machine an honest rank may fall behind and leave out a step.
    assert all(jobs.summary(job)["ledger"][worker]["agreed"] > (500 - step) / 2 for worker, step in back.items())


def ledger(job) -> list[dict]:
    (path,) = job.folder.glob("runs/*/ledger.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]
