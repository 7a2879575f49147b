"""mpirun under way, whatever stands for it."""

import sys

from detox.launch import job

WAITS = [sys.executable, "-c", "import time; time.sleep({})"]


def test_a_job_that_never_begins_is_ended_and_one_that_has_begun_is_not(capfd):
    for seconds in (600, 2):
        line = [*WAITS[:2], WAITS[2].format(seconds)]
        status, number = job.run(line, lambda seconds=seconds: seconds == 2, patience=0.2)
        assert number == 0
        assert (status == 0) == (seconds == 2)
    words = "the parameter server has not begun within 0.2 s: a rank may not have come as far as MPI"
    assert capfd.readouterr().err.count(words) == 1
