"""The scripts for sbatch on a real Slurm: slurmctld and three slurmd's, each on a host of its own, a network namespace
of this machine. Takes root, iproute2 and Slurm; see launch/namespaces.sh."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMESPACES = ROOT / "launch" / "namespaces.sh"
HOSTS = 3
SECONDS = 240

CONF = """
ClusterName=detox
SlurmctldHost={host}1(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
TmpFS={folder}/tmp-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
KillWait=5
ReturnToService=2
NodeName={host}[1-{hosts}] NodeAddr=10.77.0.[1-{hosts}] CPUs=1 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=60
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""


def why_not() -> str:
    """Why there can be no Slurm here; empty where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "Slurm on this machine takes root on Linux"
    missing = [name for name in ("ip", "munged", "slurmctld", "slurmd", "srun") if shutil.which(name) is None]
    return f"there is no {', '.join(missing)}: apt-get install slurm-wlm munge libpmix-dev iproute2" if missing else ""


class Slurm:
    """A cluster that belongs to this test process alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"detox-slurm{os.getpid()}-"
        self.environment = {**os.environ, "DETOX_NET": self.name, "SLURM_CONF": str(folder / "slurm.conf")}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.daemons: list[subprocess.Popen] = []

    def up(self) -> None:
        self.network("up", str(HOSTS))
        (self.folder / "slurm.conf").write_text(CONF.format(host=self.name, folder=self.folder, hosts=HOSTS))
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        options = [f"--{name}={self.folder}/munge.{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
        options.append(f"--key-file={key}")
        self.start(1, "munged", "--foreground", "--force", *options)
        for name in ("state", *(f"{kind}-{self.name}{i}" for kind in ("tmp", "spool") for i in range(1, HOSTS + 1))):
            (self.folder / name).mkdir()
        self.start(1, "slurmctld", "-D", "-c")
        for i in range(1, HOSTS + 1):
            self.start(i, "slurmd", "-D", "-N", f"{self.name}{i}")
        self.until(
            lambda: self.call("sinfo", "-h", "-p", "low", "-t", "idle", "-o", "%D", check=False).strip() == str(HOSTS)
        )

    def start(self, host: int, *command: str) -> None:
        line = [str(NAMESPACES), "agent", f"{self.name}{host}", *command]
        with (self.folder / f"{command[0]}-{host}.out").open("w") as out:
            process = subprocess.Popen(line, env=self.environment, stdout=out, stderr=subprocess.STDOUT)
        self.daemons.append(process)

    def network(self, *arguments: str) -> None:
        done = subprocess.run(
            [NAMESPACES, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def call(self, *command: str, cwd: Path | None = None, check: bool = True) -> str:
        """A command of a user, on the first host."""
        line = [str(NAMESPACES), "run", *command]
        done = subprocess.run(
            line, env=self.environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=SECONDS
        )
        assert done.returncode == 0 or not check, done.stderr + done.stdout
        return done.stdout

    def submit(self, checkout: Path, *arguments: str) -> str:
        """The id of a job that sbatch has queued."""
        options = ["--parsable", f"--nodes={HOSTS}", "--output=job-%A_%a.txt"]
        return self.call("sbatch", *options, *arguments, cwd=checkout).strip()

    def state(self, job: str) -> str:
        found = re.search(r"JobState=(\w+)", self.call("scontrol", "show", "job", job, check=False))
        return found[1] if found else ""

    def until(self, true, what: str = "the cluster is up") -> None:
        end = time.monotonic() + SECONDS
        while not true():
            if time.monotonic() > end or any(daemon.poll() is not None for daemon in self.daemons):
                pytest.fail(f"waited for: {what}\n{self.told()}")
            time.sleep(0.2)

    def told(self) -> str:
        """What daemons and jobs have printed."""
        paths = [*self.folder.glob("*.out"), *self.folder.glob("*.log"), *self.folder.glob("checkout/job*")]
        return "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in paths)

    def down(self) -> None:
        for process in reversed(self.daemons):
            process.terminate()
        for process in self.daemons:
            process.wait(30)
        self.network("down")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if why := why_not():
        pytest.skip(why)
    cluster = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def checkout(slurm, jobs):
    """A folder with launch/, as sbatch finds it in a checkout, and run.toml."""
    folder = slurm.folder / "checkout"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "launch", folder / "launch", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(jobs.folder / "run.toml", folder)
    return folder


def _summaries(checkout):
    return [json.loads(path.read_text()) for path in checkout.glob("runs/**/summary.json")]


def test_an_array_makes_each_run_of_a_grid_by_mpirun_in_its_allocation(slurm, checkout, baseline):
    (checkout / "grid.toml").write_text('base = "run.toml"\n[grid]\nseed = [0, 1]\n')
    (checkout / "commands").write_text(slurm.call("detox-ps", "sweep", "grid.toml", cwd=checkout))
    job = slurm.submit(checkout, "--array=1-2", "launch/slurm/sweep.sbatch", "commands")
    slurm.until(lambda: len(_summaries(checkout)) == 2, "two summaries")
    slurm.until(lambda: slurm.state(job) in ("COMPLETED", ""), "the job's end")
    summaries = _summaries(checkout)
    assert baseline["weights_digest"] in {summary["weights_digest"] for summary in summaries}
    assert len({summary["weights_digest"] for summary in summaries}) == 2
    for summary in summaries:
        assert set(summary["hosts"]) == {f"{slurm.name}{i}" for i in range(2, HOSTS + 1)}


def test_srun_starts_the_ranks_too(slurm, checkout, baseline):
    slurm.submit(checkout, "launch/slurm/srun.sbatch", "run.toml")
    slurm.until(lambda: _summaries(checkout), "a summary")
    (summary,) = _summaries(checkout)
    assert summary["weights_digest"] == baseline["weights_digest"]
    assert set(summary["hosts"]) == {f"{slurm.name}{i}" for i in range(2, HOSTS + 1)}


# Long enough to be told to end in the middle: 200 steps of three times 20 ms on each host.
LONG = ["--q", "0", "--steps", "200", "--fault.worker", *map(str, range(9))]
LONG += ["--fault.kind", "straggle", "--fault.seconds", "0.02"]


@pytest.fixture(scope="module")
def uninterrupted(plain_jobs_of_session):
    """The digest of a run of LONG that nobody disturbs."""
    return plain_jobs_of_session.run(*LONG)["weights_digest"]


def _text(checkout):
    return "".join(path.read_text() for path in checkout.glob("job-*"))


def _steps(checkout):
    return sum(path.read_text().count("\n") for path in checkout.glob("runs/*/metrics.jsonl"))


@pytest.mark.slow
def test_a_preempted_run_is_queued_again_and_resumes_to_the_same_bits(slurm, checkout, uninterrupted):
    low = slurm.submit(checkout, "launch/slurm/train.sbatch", "run.toml", *LONG)
    slurm.until(lambda: _steps(checkout) > 20, "20 steps")
    high = slurm.submit(checkout, "--partition=high", "--wrap", "true")
    slurm.until(lambda: slurm.state(high) == "COMPLETED", "the job that comes first")
    assert not _summaries(checkout)
    slurm.until(lambda: _summaries(checkout), "a summary")
    assert "it is queued again" in _text(checkout)
    assert "resumed after step" in _text(checkout)
    (summary,) = _summaries(checkout)
    assert summary["weights_digest"] == uninterrupted
    slurm.until(lambda: slurm.state(low) == "COMPLETED", "the job's end")


@pytest.mark.slow
@pytest.mark.parametrize("script", ["train", "srun"])
def test_near_the_time_limit_a_run_is_queued_again_and_resumes_to_the_same_bits(slurm, checkout, uninterrupted, script):
    options = ["--time=1", "--signal=B:USR1@20"]  # Slurm looks every half a minute
    slurm.submit(checkout, *options, f"launch/slurm/{script}.sbatch", "run.toml", *LONG, "--fault.seconds", "0.05")
    slurm.until(lambda: _summaries(checkout), "a summary")
    assert "resumed after step" in _text(checkout)
    (summary,) = _summaries(checkout)
    assert summary["weights_digest"] == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize("script", ["train", "srun"])
def test_over_tcp_the_bits_are_the_same(slurm, checkout, baseline, script):
    tcp = ["--transport.channel", "tcp", "--transport.listen", "10.77.0.1"]  # hosts know each other by no name here
    slurm.submit(checkout, f"launch/slurm/{script}.sbatch", "run.toml", *tcp)
    slurm.until(lambda: _summaries(checkout), "a summary")
    (summary,) = _summaries(checkout)
    assert summary["weights_digest"] == baseline["weights_digest"]
    assert set(summary["hosts"]) == {f"10.77.0.{i}" for i in range(2, HOSTS + 1)}
