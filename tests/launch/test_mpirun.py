import subprocess
import sys
from pathlib import Path

import pytest

from detox.launch.environment import settings
from detox.launch.hostfile import ranks_in
from detox.launch.mpirun import MpirunError, find_mpirun, is_open_mpi, mpirun_line, warnings, what_is_lost

ROOT = Path(__file__).parents[2]


def _open_mpi():
    try:
        return is_open_mpi(find_mpirun())
    except MpirunError:
        return False


@pytest.fixture(autouse=True)
def nothing_left_of_a_batch_system(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_JOBID", "SLURM_NODELIST", "PBS_JOBID", "LSB_JOBID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(not _open_mpi(), reason="no Open MPI")
@pytest.mark.parametrize("hostfile", [None, "hosts"])
def test_the_line_carries_ranks_hosts_threads_and_the_instruction_set(hostfile):
    line = mpirun_line(4, hostfile, ["detox-ps", "train", "a.toml"])
    assert line[-5:] == ["-n", "4", "detox-ps", "train", "a.toml"]
    assert "ulfm" in line
    for name, value in settings().items():
        assert f"{name}={value}" in line
    assert ("--hostfile" in line) == (hostfile is not None)


def test_another_mpi_gets_no_flag_that_it_does_not_know(tmp_path, monkeypatch):
    fake = tmp_path / "mpirun"
    fake.write_text("#!/bin/sh\necho 'HYDRA build details: Version: 4.2.0'\n")
    fake.chmod(0o755)
    monkeypatch.setattr("detox.launch.mpirun.find_mpirun", lambda: str(fake))
    assert mpirun_line(3, "hosts", ["x"]) == [str(fake), "-ppn", "1", "-machinefile", "hosts", "-n", "3", "x"]
    assert mpirun_line(3, None, ["x"]) == [str(fake), "-n", "3", "x"]


@pytest.mark.parametrize(
    ("version", "info", "words"),
    [
        ("HYDRA build details: Version: 4.2.0", None, "not Open MPI"),
        ("mpirun (Open MPI) 5.0.7", "FT MPI support: no", "no ULFM"),
        ("mpirun (Open MPI) 5.0.7", None, "not known"),
        ("mpirun (Open MPI) 5.0.7", "          FT MPI support: yes", ""),
    ],
)
def test_what_an_mpi_cannot_survive_is_said(tmp_path, version, info, words):
    for name, output in (("mpirun", version), ("ompi_info", info)):
        if output is not None:
            (tmp_path / name).write_text(f"#!/bin/sh\necho '{output}'\n")
            (tmp_path / name).chmod(0o755)
    lost = what_is_lost(str(tmp_path / "mpirun"))
    assert words in lost
    assert bool(lost) == bool(words)


def test_an_mpirun_that_fails_is_quoted(tmp_path, monkeypatch):
    fake = tmp_path / "mpirun"
    fake.write_text("#!/bin/sh\necho '-----------------\nno home,\nso no MPI' >&2; exit 1\n")
    fake.chmod(0o755)
    with pytest.raises(MpirunError, match=r"mpirun --version fails \(status 1\) and says: no home, so no MPI"):
        is_open_mpi(str(fake))
    fake.write_text("no program")
    fake.chmod(0o644)
    with pytest.raises(MpirunError, match="mpirun cannot be started: Permission denied"):
        is_open_mpi(str(fake))


@pytest.mark.skipif(not _open_mpi(), reason="no Open MPI")
@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "SLURM_NODELIST", "PBS_JOBID"])
def test_without_a_hostfile_all_ranks_are_here_whatever_a_batch_system_left(monkeypatch, name):
    before = mpirun_line(3, None, ["x"]), mpirun_line(3, "hosts", ["x"])
    monkeypatch.setenv(name, "7")
    line = mpirun_line(3, None, ["x"])
    assert "^slurm,pbs,lsf,gridengine,flux" in line
    assert mpirun_line(3, "hosts", ["x"]) == before[1]
    (warning,) = warnings(line[0], None)
    assert "all ranks start on this machine" in warning
    assert not warnings(line[0], "hosts")
    monkeypatch.delenv(name)
    assert mpirun_line(3, None, ["x"]) == before[0]


def test_without_mpirun_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MpirunError, match="local"):
        find_mpirun()


@pytest.mark.parametrize(("name", "hosts"), [("local", 3), ("paper-46", 46)])
def test_hostfiles_have_one_host_a_line_and_the_ps_first(name, hosts):
    path = ROOT / "hostfiles" / name
    assert ranks_in(str(path), slots=True) == hosts
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == hosts
    assert all(len(line.split()) == 1 for line in lines)


def test_what_only_starts_jobs_does_not_wait_for_torch():
    # It takes longer to import than all the rest.
    modules = "detox.launch.launcher", "detox.launch.doctor", "detox.launch.sweep", "detox.reports.blame"
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
