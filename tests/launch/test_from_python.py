"""`detox.train` but for the job: what it starts, and what it makes of what that prints and returns."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import detox
from detox.config import Config, read_config
from detox.launch import from_python
from detox.launch.mpirun import program
from detox.tasks import Task


class MyTask(Task):
    pass


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """Puts code in the place of `detox-ps`: its `words` are those of the command line."""

    def put(code):
        script = tmp_path / "launcher.py"
        script.write_text("import os, signal, sys, time\nwords = sys.argv[1:]\n" + textwrap.dedent(code))
        monkeypatch.setattr(from_python, "program", lambda: [sys.executable, "-S", str(script)])

    monkeypatch.chdir(tmp_path)
    return put


def test_the_launcher_gets_the_config_as_a_file_and_the_rest_as_options(launcher, tmp_path, capsys):
    launcher("print(words); print('an error', file=sys.stderr)")
    (tmp_path / "base.toml").write_text(
        'p = 9\nq = 2\naggregator.name = "median"\n[attack]\nkind = "alie"\nplacement = "fixed"\n'
    )
    run = detox.train("base.toml", ranks=4, hostfile="hosts", restarts=2, steps=7, attack={"kind": "reversed"})
    out = capsys.readouterr().out.splitlines()
    words = eval(out[0])
    file = words.pop()
    assert words == [
        "launch", "--progress", "lines", "--end-with", str(os.getpid()), "--restarts", "2", "-n", "4",
        "--hostfile", "hosts",
    ]  # fmt: skip
    assert out[1:] == ["an error"]
    told = detox.train(file, **{"attack.kind": "reversed"}, resume=False, accept_changes=True, quiet=True)
    assert capsys.readouterr().out == ""
    assert told.path == run.path == tmp_path / file.removesuffix(".toml")
    config = read_config(file, [])
    assert (config.name, config.p, config.steps, config.attack.kind) == ("base", 9, 7, "reversed")
    assert config.attack.placement == "fixed"  # the section of the file is not lost


def test_a_config_may_be_an_object_or_fields_and_those_by_name_are_stronger(launcher, capsys):
    launcher("print(words[-1])")

    def sent(config, **fields):
        detox.train(config, **fields)
        return read_config(capsys.readouterr().out.strip(), [])

    config = Config(p=9, q=2, steps=7, aggregator={"name": "median"})
    assert sent(config, steps=8) == config.model_copy(update={"steps": 8})
    assert sent({"p": 9, "r": 3}, r=1).r == 1
    assert sent(None, task=MyTask).task == f"{__name__}:MyTask"


@pytest.mark.parametrize(
    ("config", "fields", "words"),
    [
        ({"stps": 3}, {}, "config: stps: there is no such field; did you mean steps?"),
        ("nowhere.toml", {}, "nowhere.toml: No such file"),
        (None, {"p": 9, "r": 4}, "r = 4"),
        (None, {"output": "/proc/none"}, "output = /proc/none: .*none"),
        (None, {"task": type("Own", (Task,), {"__module__": "__main__"})}, "task Own: .*%%writefile"),
    ],
)
def test_a_config_that_cannot_be_run_is_refused_before_anything_starts(launcher, config, fields, words):
    launcher("sys.exit('started')")
    with pytest.raises(detox.UserError, match=words):
        detox.train(config, **fields)


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (
            "print('step 1'); print('detox-ps: no data', file=sys.stderr); print('x'); sys.exit(2)",
            detox.UserError,
            "no data",
        ),
        ("print('detox-ps: one\\ndetox-ps: two'); sys.exit(1)", detox.JobError, "one\ntwo"),
        ("print('Aborted'); sys.exit(9)", detox.JobError, "Aborted"),
        ("sys.stdout.buffer.write(b'\\xff'); sys.exit(1)", detox.JobError, "\\xff"),
        ("sys.exit(1)", detox.JobError, "the job ended with status 1"),
        ("os.kill(os.getpid(), signal.SIGKILL)", detox.JobError, "the job ended with status -9"),
    ],
)
def test_a_job_that_fails_is_an_error_with_its_last_words(launcher, code, kind, message):
    launcher(code)
    with pytest.raises(kind) as raised:
        detox.train(quiet=True)
    assert str(raised.value) == message


CONSCIENTIOUS = """
told = []
signal.signal(signal.SIGINT, lambda *_: told.append(1))
print("ready", flush=True)
while not told:
    time.sleep(0.01)
time.sleep(0.1)
print("checkpoint", len(told), flush=True)
sys.exit(130)
"""


def test_ctrl_c_is_passed_on_once_and_raised_when_the_job_has_ended(launcher, monkeypatch):
    said = []

    def show(text, **_):
        said.append(text)
        if text == "ready\n":
            os.killpg(0, signal.SIGURG)  # what the group gets, the job does not
            os.kill(os.getpid(), signal.SIGINT)

    launcher(CONSCIENTIOUS)
    monkeypatch.setattr("builtins.print", show)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        detox.train()
    assert said == ["ready\n", "checkpoint 1\n"]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_there_is_a_process_reaches_it(launcher, monkeypatch):
    launcher("time.sleep(60)")
    start = subprocess.Popen

    def popen(*arguments, **named):
        os.kill(os.getpid(), signal.SIGINT)
        return start(*arguments, **named)

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(KeyboardInterrupt):
        detox.train()


def test_a_job_does_not_outlive_what_could_not_show_its_output(launcher, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise BrokenPipeError

    launcher("open('pid', 'w').write(str(os.getpid())); print('x', flush=True); time.sleep(60)")
    monkeypatch.setattr("builtins.print", fail)
    with pytest.raises(BrokenPipeError):
        detox.train()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_job_can_be_started_in_a_thread(launcher):
    found = []
    launcher("print('x')")
    thread = threading.Thread(target=lambda: found.append(detox.train(quiet=True)))
    thread.start()
    thread.join()
    assert len(found) == 1


def test_a_launcher_ends_with_the_process_that_it_is_told_to_end_with(tmp_path):
    """A kernel of a notebook that is killed leaves no job behind."""
    line = [*program(), "launch", "--end-with", "{}", str(tmp_path / "fifo")]
    os.mkfifo(tmp_path / "fifo")  # a config that never comes
    code = f"""
import os, subprocess, time
line = {line!r}
process = subprocess.Popen([word.replace("{{}}", str(os.getpid())) for word in line], start_new_session=True)
print(process.pid, flush=True)
time.sleep(60)
"""
    kernel = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(kernel.stdout.readline())
    while b"--end-with" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.01)
    kernel.kill()
    kernel.wait()
    kernel.stdout.close()
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        if time.monotonic() > end:
            pytest.fail("the launcher goes on")
        time.sleep(0.02)


def test_a_launcher_whose_parent_is_gone_already_starts_nothing():
    done = subprocess.run([*program(), "launch", "--end-with", "1", "nowhere.toml"], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
