"""Real mpirun jobs, each in a subprocess with a time limit; MPI is never imported in pytest's own process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked.server import Forks
from one_process import CONFIG

from detox.launch.mpirun import MpirunError, find_mpirun

SECONDS = 240
os.environ["PATH"] += ":/usr/sbin:/sbin"  # of ip, sshd and Slurm's daemons


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/mpi/" in item.path.as_posix():
            item.add_marker("mpi")


class Job:
    """A job under way: `detox-ps launch` in a session of its own, ended with all that it started."""

    def __init__(self, folder: Path, argv: list[str], variables: dict[str, str]) -> None:
        self.folder = folder
        self.output = folder / "output.txt"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                argv, cwd=folder, env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def wait(self) -> int:
        try:
            return self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {SECONDS} s:\n{self.text}")

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str, times: int = 1) -> None:
        end = time.monotonic() + SECONDS
        while self.text.count(words) < times:
            assert self.process.poll() is None, self.text
            if time.monotonic() > end:
                pytest.fail(self.text)
            time.sleep(0.05)

    def processes(self) -> dict[int, dict[bytes, bytes]]:
        """Process id -> environment of all processes of this job: those in its folder."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "cwd").readlink() == self.folder:
                    environment = (entry / "environ").read_bytes().split(b"\0")
                    found[int(entry.name)] = dict(line.split(b"=", 1) for line in environment if b"=" in line)
            except OSError:
                continue
        return found

    def pid_of_rank(self, rank: int) -> int:
        """The process of that rank: the child of forked/server.py, where another stands for it."""
        found = [p for p, known in self.processes().items() if known.get(b"OMPI_COMM_WORLD_RANK") == b"%d" % rank]
        for pid in [pid for pid in self.processes() if self._name_of(pid) == f"rank {rank}"] or found:
            return pid
        pytest.fail(f"no process of rank {rank}")

    @staticmethod
    def _name_of(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            return ""

    @staticmethod
    def memory_of(pid: int) -> int:
        """Bytes of memory that a process has now; 0 where it is gone."""
        try:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return 0

    def end(self) -> None:
        """SIGTERM to mpirun takes its ranks along."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


class Jobs:
    """Starts jobs in one folder, and reads what they leave there.

    Args:
        folder: of the jobs' own.
        variables: of their environment, beside this process's.
    """

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder, self._variables = folder, variables
        self._jobs: list[Job] = []
        (folder / "run.toml").write_text(CONFIG)

    def start(self, *arguments: str, n: int = 3, files: tuple[Path, ...] = ()) -> Job:
        argv = [sys.executable, "-m", "detox.launch", "launch", "-n", str(n), "run.toml", *arguments]
        return self.start_line(argv, files)

    def start_line(self, argv: list[str], files: tuple[Path, ...] = ()) -> Job:
        """Starts a command in a new folder with run.toml and copies of `files`."""
        folder = self.folder / f"job{len(self._jobs)}"
        folder.mkdir()
        for file in (self.folder / "run.toml", *files):
            shutil.copy(file, folder)
        self._jobs.append(Job(folder, argv, self._variables))
        return self._jobs[-1]

    def run(self, *arguments: str, n: int = 3, files: tuple[Path, ...] = ()) -> dict:
        """The summary of a run that has to succeed."""
        job = self.start(*arguments, n=n, files=files)
        assert job.wait() == 0, job.text
        return self.summary(job)

    @staticmethod
    def summary(job: Job) -> dict:
        (path,) = job.folder.glob("runs/*/summary.json")
        return json.loads(path.read_text())

    def end(self) -> None:
        for job in self._jobs:
            job.end()


def _jobs(folder: Path, **variables: str) -> Iterator[Jobs]:
    try:
        find_mpirun()
    except MpirunError as error:
        pytest.skip(str(error))
    jobs = Jobs(folder, variables)
    yield jobs
    jobs.end()


@pytest.fixture(scope="session")
def forks():
    """The process whose children are the ranks of `jobs`."""
    forks = Forks()
    yield forks
    forks.end()


@pytest.fixture
def jobs(tmp_path, forks):
    yield from _jobs(tmp_path, **forks.variables)


@pytest.fixture
def plain_jobs(tmp_path):
    """Jobs whose start is what is tested."""
    yield from _jobs(tmp_path)


@pytest.fixture(scope="session")
def plain_jobs_of_session(tmp_path_factory):
    yield from _jobs(tmp_path_factory.mktemp("session"))


@pytest.fixture(scope="session")
def baseline_job(plain_jobs_of_session):
    """A run of run.toml that has succeeded, with a few checkpoints and lines more. Tests read its folder."""
    job = plain_jobs_of_session.start("--checkpoint-every", "5", "--log-every", "5")
    assert job.wait() == 0, job.text
    return job


@pytest.fixture(scope="session")
def baseline(baseline_job):
    """The summary of run.toml."""
    return Jobs.summary(baseline_job)


@pytest.fixture
def odd():
    """Python's arguments for detox-ps on a host with another instruction set than all others; -E: it is not forked."""
    code = """
import detox.launch.environment as environment
environment.INSTRUCTION_SET = {
    "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE",
}
from detox.launch.main import main
main()
"""
    return ["-E", "-c", code]
