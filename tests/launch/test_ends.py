"""How the PS begins in a folder and how it ends, whatever the training does; the training itself is a stand-in."""

import errno
import json
import os
import shutil
import signal
from contextlib import suppress

import pytest

from detox.config import ConfigError, read_config
from detox.launch.launcher import launch
from detox.launch.provenance import facts_of, place_of
from detox.launch.scores import EvaluationError
from detox.launch.serve import serve
from detox.ps.folder import CheckpointError, RunFolder
from detox.ps.lock import Lock, LockedError
from detox.ps.selftest import StartError, UnequalError
from detox.ps.step import ServerError
from detox.tasks import TaskError, create_task
from detox.wire.memory import Network

SUMMARY = {
    "steps": 3, "test_accuracy": 0.5, "test_loss": 1.0, "bytes_into_ps": 5, "skipped_steps": 0, "dissents": {},
    "quarantined": {}, "votes": {"unanimous": 3, "majority": 0, "none": 0},
    "seconds_per_step": dict.fromkeys(("total", "wait", "transfer", "vote", "aggregate", "update"), 0.1),
}  # fmt: skip


class Job:
    """`detox-ps train run.toml` of rank 0, in a folder of its own; `train` is what the training does."""

    def __init__(self, tmp_path, monkeypatch, capsys):
        self.train = lambda: True
        self._capsys = capsys
        monkeypatch.chdir(tmp_path)
        (tmp_path / "run.toml").write_text('model = "softmax"\np = 9\nsteps = 3\n[aggregator]\nname = "median"\n')
        self.config = read_config("run.toml", [])
        self.folder = RunFolder(self.config.folder)
        network = Network()
        self._session = network.session(0, [1, 2])
        for rank in (1, 2):
            network.kill(rank)
        monkeypatch.setattr("detox.launch.failure.users_line", lambda _: "")  # or this file would be the user's

    def serve(self, *words):
        status, _ = serve(self._session, ["run.toml", *words], lambda *_: self.train())
        printed = self._capsys.readouterr()
        self.printed = printed.out + printed.err
        return status

    def finish(self, **changed):
        """Leaves a finished run, made with what there is now but for what is changed."""
        self.folder.create(self.config.toml())
        self.folder.keep_secret(lambda: 5)
        self.folder.save_checkpoint(3, {})
        facts = facts_of(self.config, create_task("digits", model="softmax")) | place_of(self.config, 3)
        self.folder.write_provenance(facts | changed)
        self.folder.finish(SUMMARY)

    def content(self, folder=None):
        folder = folder or self.folder.path
        files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("status.json", "lock"))
        return {path.relative_to(folder): path.read_bytes() for path in files}


@pytest.fixture
def job(tmp_path, monkeypatch, capsys):
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield Job(tmp_path, monkeypatch, capsys)
    for number, handler in former.items():
        signal.signal(number, handler)


def test_a_finished_run_is_told_and_not_made_again(job):
    job.finish()
    before = job.content()
    assert job.serve("--log-every", "50") == 0
    assert "already finished" in job.printed
    assert job.content() == before


@pytest.mark.parametrize("changed", [{"data": "0"}, {"torch": "1.0"}, {"ranks": "9"}, {"source of mine": "0"}])
def test_a_finished_run_that_would_be_another_now_is_not_already_finished(job, changed):
    job.finish(**changed)
    before = job.content()
    assert job.serve() == 2
    assert "already finished" not in job.printed
    ((name, value),) = changed.items()
    assert f"{name}: was {value}, is now" in job.printed
    assert job.content() == before
    assert job.serve("--accept-changes") == 0
    assert "already finished" in job.printed
    assert job.serve() == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"steps": 3}'])
def test_of_a_finished_run_whose_summary_is_damaged_the_end_is_made_again(job, content):
    job.finish()
    (job.folder.path / "summary.json").write_text(content)
    job.train = lambda: job.folder.finish(SUMMARY) or True
    assert job.serve() == 0
    assert "cannot be read, and is made again" in job.printed
    assert job.serve() == 0
    assert "already finished" in job.printed


def test_a_second_job_in_the_folder_is_refused_and_the_first_is_undisturbed(job, monkeypatch):
    job.folder.create("")
    job.folder.write_status("running")
    before = (job.folder.path / "status.json").read_bytes()
    with Lock(job.folder.path, pytest.fail).held():
        for words in ([], ["--no-resume"]):
            assert job.serve(*words) == 2
            assert "another job works in" in job.printed
    assert (job.folder.path / "status.json").read_bytes() == before


ENDS = [
    (StartError("ranks [2] died"), 1, True),
    (ServerError("all ranks are lost"), 1, True),
    (EvaluationError("evaluate failed"), 1, False),
    (CheckpointError("no checkpoint is right"), 1, False),
    (ConfigError("momentum: not a number"), 2, False),
    (TaskError("no such model"), 2, False),
    (UnequalError("the PS computes other bits than rank 2"), 2, False),
    (OSError(errno.ENOSPC, "No space left on device", "/some/metrics.jsonl"), 1, False),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), 1, False),
    (PermissionError(errno.EACCES, "Permission denied", "/some/ledger.jsonl"), 1, False),
    (OSError(errno.EROFS, "Read-only file system", "/some/status.json.tmp"), 1, False),
]


@pytest.mark.parametrize(("error", "status", "again"), ENDS, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("words", [[], ["--no-resume"]])
def test_however_a_run_ends_that_is_one_sentence_and_an_earlier_run_comes_back(job, error, status, again, words):
    if words:
        job.finish()
    before = job.content()

    def train():
        job.folder.append_metrics({"step": 1})
        raise error

    job.train = train
    assert job.serve(*words) == status
    assert len(job.printed.splitlines()) == 1
    assert (error.strerror if isinstance(error, OSError) else str(error)) in job.printed
    told = job.folder.read_status()
    told = told["start_over"] if words else told
    assert (told["status"], told["again"]) == ("failed", again)
    if words:
        assert job.content() == before
        assert job.folder.read_status()["status"] == "finished"
        job.train = lambda: pytest.fail("made again")
        assert job.serve() == 0
        assert "already finished" in job.printed
    assert not (job.folder.path / "lock").exists()


def test_a_folder_that_is_deleted_meanwhile_is_told_in_one_sentence(job):
    def train():
        shutil.rmtree(job.folder.path)
        job.folder.append_metrics({"step": 1})

    job.train = train
    assert job.serve() == 1
    assert job.printed == f"detox-ps: the run's folder {job.folder.path} is gone\n"
    assert not job.folder.path.exists()


@pytest.mark.parametrize("words", [[], ["--no-resume"]])
def test_an_output_that_cannot_be_made_is_told_in_one_sentence(job, tmp_path, words):
    (tmp_path / "file").write_text("")
    assert job.serve("--output", "file/runs", *words) == 1
    assert len(job.printed.splitlines()) == 1
    assert "file/runs" in job.printed


def test_an_interrupted_run_and_one_killed_at_its_start_leave_the_earlier_one(job, tmp_path):
    job.finish()
    before, left = job.content(), RunFolder(tmp_path / "left")

    def interrupted():
        shutil.copytree(job.folder.path, left.path)  # as it would be if the job were killed now
        signal.raise_signal(signal.SIGUSR1)

    job.train = interrupted
    assert job.serve("--no-resume") == 3
    assert job.content() == before
    assert not left.done
    left.bring_back()
    assert left.done
    assert job.content(left.path) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_passes_every_net_for_errors_and_a_second_one_changes_nothing(job, number):
    def train():
        with suppress(Exception):  # as a library may do
            signal.raise_signal(number)
        pytest.fail("the signal was lost")

    job.train = train
    assert job.serve() == 3
    assert job.folder.read_status()["status"] == "interrupted"
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.raise_signal(again)


def test_a_run_that_has_made_a_step_has_replaced_the_earlier_one(job):
    job.finish()

    def train():
        job.folder.discard_previous()
        job.folder.finish({**SUMMARY, "steps": 4})
        return True

    job.train = train
    assert job.serve("--no-resume") == 0
    assert json.loads((job.folder.path / "summary.json").read_text())["steps"] == 4
    assert not job.folder.replaces
    assert not job.folder.resumable


@pytest.fixture
def mpirun(tmp_path, monkeypatch):
    """Puts a script in mpirun's place."""
    path = tmp_path / "mpirun"
    monkeypatch.setattr("detox.launch.mpirun.find_mpirun", lambda: str(path))

    def _mpirun(script):
        path.write_text(f"#!/bin/sh\n[ $1 = --version ] && exit\n{script}\n")
        path.chmod(0o755)

    return _mpirun


def test_nothing_is_lost_where_mpirun_cannot_start_the_run_that_was_to_start_over(job, mpirun):
    job.finish()
    before = job.content()
    mpirun("exit 213")
    assert launch(["-n", "3", "run.toml", "--no-resume"]) != 0
    assert job.content() == before
    assert job.folder.done


def test_the_ps_has_a_minute_more_than_the_start_deadline_to_begin(job, mpirun, monkeypatch):
    given = []
    monkeypatch.setattr("detox.launch.job.run", lambda line, begun, patience: given.append(patience) or (1, 0))
    mpirun("exit 1")
    launch(["-n", "3", "run.toml", "--transport.start-deadline", "7"])
    assert given == [67]


def test_an_earlier_run_comes_back_where_the_whole_job_was_killed_at_its_start(job, mpirun):
    job.finish()
    before = job.content()
    folder = job.folder.path
    mpirun(f"mkdir -p {folder}/.previous-run && mv {folder}/done {folder}/*.json {folder}/.previous-run; kill -9 $$")
    assert launch(["-n", "3", "run.toml", "--no-resume"]) != 0
    assert job.folder.done
    assert {path.name for path in job.content()} <= {path.name for path in before}


def test_a_second_launch_does_not_start_mpirun(job, mpirun, monkeypatch, tmp_path):
    mpirun(f"touch {tmp_path}/started")
    with Lock(job.folder.path, pytest.fail).held():
        try:
            status = launch(["-n", "3", "run.toml"])
        except LockedError:  # which main puts into words
            status = 2
    assert status == 2
    assert not (tmp_path / "started").exists()


def test_a_job_that_was_refused_for_another_says_nothing_of_the_other_s_run(job, mpirun, capsys):
    folder = job.folder.path
    mpirun(f"""mkdir -p {folder} && echo '{{"status": "running", "again": true}}' > {folder}/status.json; exit 2""")
    assert launch(["-n", "3", "run.toml", "--restarts", "3"]) == 2
    said = capsys.readouterr().err
    assert "the run was not started" in said
    assert "the same command resumes it" not in said
    assert "starting it again" not in said


@pytest.mark.parametrize(("steps", "starts"), [("true", 2), ("echo 1 >> {}/metrics.jsonl", 4)])
def test_a_job_that_twice_dies_mute_before_its_first_step_is_not_started_again(job, mpirun, capsys, steps, starts):
    folder = job.folder.path
    status = (
        f"""mkdir -p {folder}; echo '{{"status": "running", "again": true, "time": "'$$'"}}' > {folder}/status.json"""
    )
    mpirun(f"{status}; {steps.format(folder)}; kill -SEGV $$")
    assert launch(["-n", "3", "run.toml", "--restarts", "3"]) == 1
    printed = capsys.readouterr()
    assert printed.out.count("train run.toml") == starts
    assert ("before its first step, twice" in printed.err) == (starts == 2)
    assert ("the same command starts it anew, for it has no checkpoint yet" in printed.err) == (starts == 4)


@pytest.mark.parametrize(("restarts", "starts"), [((), 4), (("--restarts", "0"), 1)])
def test_a_job_whose_ps_is_gone_goes_on_as_long_as_it_gets_further(job, mpirun, capsys, restarts, starts):
    folder = job.folder.path  # in which the jobs come to steps 5, 10, 15 and 15
    mpirun(f"""
mkdir -p {folder}; echo '{{"status": "running", "again": true, "time": "'$$'"}}' > {folder}/status.json
made=$(wc -l < {folder}/metrics.jsonl || echo 0)
[ $made -eq 15 ] || for step in 1 2 3 4 5; do echo '{{"step": '$((made + step))'}}'; done >> {folder}/metrics.jsonl
kill -KILL $$
""")
    assert launch(["-n", "3", "run.toml", *restarts]) == 1
    printed = capsys.readouterr()
    assert printed.out.count("train run.toml") == starts
    assert printed.err.count("starting it again, for it has made") == starts - 1
    assert "the parameter server is gone without a word" in printed.err


def test_steps_of_a_run_that_comes_back_are_not_those_of_the_job_to_replace_it(job, mpirun, capsys):
    job.finish()
    job.folder.append_metrics({"step": 3})
    folder = job.folder.path
    mpirun(f"""
mkdir -p {folder}/.previous-run && mv {folder}/done {folder}/*.json {folder}/*.jsonl {folder}/.previous-run
echo '{{"status": "running", "again": true, "time": "'$$'"}}' > {folder}/status.json
kill -KILL $$
""")
    assert launch(["-n", "3", "run.toml", "--no-resume"]) != 0
    printed = capsys.readouterr()
    assert printed.out.count("train run.toml") == 1
    assert "starting it again" not in printed.err
    assert job.folder.done


def test_a_task_that_changes_the_current_folder_takes_no_file_along(job, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def train():
        os.chdir(elsewhere)
        job.folder.append_metrics({"step": 1})
        job.folder.save_checkpoint(1, {})
        job.folder.finish(SUMMARY)
        return True

    job.train = train
    assert job.serve() == 0
    assert not list(elsewhere.iterdir())
    assert job.folder.done
    assert job.folder.resumable


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (2, 2), (137, 0)])
def test_a_finished_run_that_is_refused_for_what_has_changed_is_no_success(job, mpirun, status, expected):
    job.finish()
    mpirun(f"exit {status}")
    assert launch(["-n", "3", "run.toml"]) == expected
