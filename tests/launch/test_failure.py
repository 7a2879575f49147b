"""Errors in words: what is said, where it came from, and the exit status."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from detox.config import ConfigError
from detox.launch import failure, job
from detox.launch.console import Reporter
from detox.launch.hostfile import ranks_in
from detox.launch.launcher import exit_status, outlook, ranks
from detox.launch.mpirun import MpirunError

USERS = {
    "raise KeyError('no such column')": "KeyError: 'no such column'",
    "open('/nowhere/data')": "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/data'",
    "import sys; sys.exit(4)": "sys.exit(4) was called",
    "import sys; sys.exit()": "sys.exit() was called",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "(lambda f: f(f))(lambda f: f(f))": "RecursionError: maximum recursion depth exceeded",
    "None.x": "AttributeError: 'NoneType' object has no attribute 'x'",
    "raise ValueError('two\\n  lines')": "ValueError: two lines",
    "import numpy; numpy.zeros(3) @ numpy.zeros(4)": "ValueError: matmul",
    "raise MemoryError": "MemoryError",
}


@pytest.mark.parametrize("act", USERS)
def test_what_the_users_code_raises_names_its_file_and_line(tmp_path, act):
    file = tmp_path / "own_task.py"
    file.write_text(f"def loss():\n    {act}\n")
    scope = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        scope["loss"]()
    said = failure.in_words(raised.value)
    assert said.startswith(USERS[act])
    assert f"in {file}:2" in said
    assert "\n" not in said
    assert failure.status_of(raised.value) == (1 if "Memory" in act else 2)


def test_a_syntax_error_in_the_users_code_names_its_file_and_line(tmp_path):
    file = tmp_path / "own_task.py"
    with pytest.raises(SyntaxError) as raised:
        compile("x = 1\nx = = 2\n", str(file), "exec")
    assert failure.in_words(raised.value) == f"SyntaxError: invalid syntax, in {file}:2"
    assert failure.status_of(raised.value) == 2


def test_what_nobody_foresaw_is_a_sentence_and_its_traceback_a_file(tmp_path):
    with pytest.raises(TypeError) as raised:
        exit_status(0, "two", {})
    raised.value.__traceback__ = raised.value.__traceback__.tb_next  # without this test, which is a user's
    said = failure.in_words(raised.value, tmp_path)
    assert said.startswith("TypeError: ")
    assert said.endswith(f"; the traceback is in {tmp_path / 'traceback.txt'}")
    assert "launcher.py" in said
    assert "Traceback (most recent call last)" in (tmp_path / "traceback.txt").read_text()
    assert failure.status_of(raised.value) == 1


@pytest.mark.parametrize(
    ("told", "number", "words", "status"),
    [
        ({}, 0, "was not started", 2),
        ({}, 2, "ended before the run began", 130),
        ({"status": "failed", "again": False, "why": "lr", "mistake": True}, 0, "cannot be resumed", 2),
        ({"status": "failed", "again": True, "why": "all ranks are lost"}, 0, "the same command resumes it", 1),
        ({"status": "running", "again": True}, 0, "gone without a word; the same command resumes it", 1),
        ({"status": "interrupted", "again": False}, 0, "the same command resumes it", 3),
        ({"status": "interrupted", "again": False}, 2, "the same command resumes it", 130),
        ({"status": "running", "again": True}, 15, "the same command resumes it", 143),
    ],
)
def test_only_where_the_same_command_resumes_a_run_that_is_said(told, number, words, status):
    said = outlook(told, number, "runs/x", resumable=True)
    assert words in said
    assert ("resumes" in said) == ("resumes" in words)
    assert "resumes" not in outlook(told, number, "runs/x", resumable=False)
    assert exit_status(2, number, told) == status


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_fewer_than_two_ranks_are_refused(n):
    with pytest.raises(ConfigError, match=f"got {n} rank{'' if n == 1 else 's'}$"):
        ranks(SimpleNamespace(n=n, hostfile=None), 3)
    assert ranks(SimpleNamespace(n=None, hostfile=None), 3) == 3


@pytest.mark.parametrize(
    ("content", "room"),
    [
        (b"a\nb\n", 2),
        (b"a\nb", 2),
        (b"  # indented\n\na # behind\n\tb\n#c\n", 2),
        (b"a slots=3\nb slots = 2 max_slots=4 # x\nc\n", 6),
        (b"a\na\n", 2),
        ("# Rechner f\u00fcr alle\na\n".encode("latin-1"), 1),
        ("# f\u00fcr\na\n".encode(), 1),
    ],
)
def test_a_hostfile_has_room_for_as_many_ranks_as_the_mpi_will_find(tmp_path, content, room):
    (tmp_path / "hosts").write_bytes(content)
    assert ranks_in(str(tmp_path / "hosts"), slots=True) == room


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no host in it"),
        (b" \n# a\n", "no host in it"),
        (b"\xef\xbb\xbfa\n", "byte order mark"),
        ("a\n".encode("utf-16"), "byte order mark"),
        (b"a\r\nb\r\n", "CRLF"),
        (b"a\nf\xfcr\n", "line 2: .* is no name of a host"),
        (b"a slots=none\n", "line 1: slots=none is no number"),
        (b"a slots=0\n", "line 1: slots=0 is no number"),
        (b"a slots=2\na slots=2\n", "line 2: a has a line already"),
    ],
)
def test_a_hostfile_that_mpirun_would_stumble_over_is_refused_in_words(tmp_path, content, words):
    (tmp_path / "hosts").write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        ranks_in(str(tmp_path / "hosts"), slots=True)


def test_a_hostfile_that_cannot_be_read_or_has_slots_for_another_mpi_is_told(tmp_path):
    with pytest.raises(ConfigError, match="Is a directory"):
        ranks_in(str(tmp_path), slots=True)
    with pytest.raises(ConfigError, match="No such file"):
        ranks_in(str(tmp_path / "hosts"), slots=True)
    (tmp_path / "hosts").write_text("a slots=2\n")
    with pytest.raises(ConfigError, match="knows no slots="):
        ranks_in(str(tmp_path / "hosts"), slots=False)


# A job that says what it is told, and does not end before the second signal; as mpirun with a rank that hangs.
STUBBORN = """
trap 'echo USR1' USR1
trap 'echo TERM; exit 9' TERM
echo ready
while :; do sleep 0.05; done
"""
RUNS = """
import sys
from detox.launch import job
print(job.run(["sh", "-c", sys.argv[1]], lambda: sys.argv[2] == "begun"), flush=True)
"""


@pytest.fixture
def launcher(request):
    """A process that runs STUBBORN as its job."""
    line = [sys.executable, "-c", RUNS, STUBBORN, getattr(request, "param", "begun")]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_for_a_checkpoint_and_a_second_one_ends_the_job(launcher, number):
    launcher.send_signal(number)
    assert launcher.stdout.readline() == "USR1\n"
    launcher.send_signal(signal.SIGINT)
    assert launcher.stdout.readline() == "TERM\n"
    assert launcher.stdout.readline() == f"(9, {int(number)})\n"


@pytest.mark.parametrize("launcher", ["new"], indirect=True)
def test_a_signal_ends_a_job_that_has_nothing_to_keep_at_once(launcher):
    launcher.send_signal(signal.SIGINT)
    assert launcher.stdout.readline() == "TERM\n"
    assert launcher.stdout.readline() == "(9, 2)\n"


def test_a_job_ends_with_its_launcher_even_where_that_is_killed(launcher):
    launcher.kill()
    assert launcher.stdout.readline() == "TERM\n"
    assert launcher.stdout.read() == ""  # its end is closed, so the job is gone


def test_a_limit_of_open_files_is_raised_as_far_as_needed_or_told(monkeypatch):
    changed = []
    monkeypatch.setattr("resource.setrlimit", lambda _, limits: changed.append(limits))
    for limits, wanted in [((1024, 4096), []), ((20, 4096), [(39, 4096)]), ((-1, -1), []), ((20, -1), [(39, -1)])]:
        monkeypatch.setattr("resource.getrlimit", lambda _, limits=limits: limits)
        job.check_files(3)
        assert changed == wanted
        changed.clear()
    monkeypatch.setattr("resource.getrlimit", lambda _: (16, 24))
    with pytest.raises(MpirunError, match="about 39 open files for 3 ranks, and ulimit -n allows 24"):
        job.check_files(3)


def test_an_mpirun_that_cannot_be_started_is_told():
    with pytest.raises(MpirunError, match=r"/nowhere/mpirun cannot be started: No such file"):
        job.run(["/nowhere/mpirun"], lambda: False)


class Gone:
    """A terminal that has gone away."""

    def write(self, text):
        raise BrokenPipeError


def test_a_failure_is_said_although_the_terminal_is_gone(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Gone())
    failure.say("x")


def test_a_run_goes_on_where_the_task_closed_the_output(monkeypatch, tmp_path):
    with (tmp_path / "output").open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
    reporter = Reporter("lines", 3)
    reporter.say("x")
    reporter.warn("y")


def test_the_bar_says_how_long_it_will_take(capsys):
    reporter = Reporter("bar", 3)
    reporter.advance(1)
    reporter.close()
    assert "ETA" in capsys.readouterr().out
