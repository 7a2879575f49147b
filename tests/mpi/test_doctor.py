import sys

from detox.launch.mpirun import mpirun_line

DOCTOR = [sys.executable, "-m", "detox.launch", "doctor", "-n", "3", "run.toml"]


def _lines(job, level):
    return [line for line in job.text.splitlines() if line.startswith(level)]


def test_a_healthy_machine_is_all_green_and_nothing_is_left_behind(plain_jobs):
    job = plain_jobs.start_line(DOCTOR)
    assert job.wait() == 0, job.text
    assert {line.split()[1].rstrip(":") for line in _lines(job, "green")} >= {
        "MPI",
        "places",
        "network",
        "memory",
        "bits",
    }
    assert not _lines(job, "red")
    assert not (job.folder / "runs").exists()


def test_hosts_that_compute_other_bits_are_a_class_of_their_own_and_red(plain_jobs, odd):
    examine = ["examine", "run.toml", "--model", "mlp"]
    line = mpirun_line(2, None, [sys.executable, "-m", "detox.launch", *examine])
    line += [":", "-n", "1", sys.executable, *odd, *examine]
    job = plain_jobs.start_line(line)
    assert job.wait() != 0
    assert "2 classes of ranks" in _lines(job, "red")[0]
    assert "cpu_capability DEFAULT" in job.text
    assert "of their length apart" in job.text
    assert any("cpu_capability" in line for line in _lines(job, "yellow"))


def test_a_mistake_is_told_once_and_in_words(plain_jobs):
    job = plain_jobs.start_line([*DOCTOR, "--r", "2"])
    assert job.wait() == 2
    assert job.text.count("r = 2 is even") == 1
    assert "Traceback" not in job.text
