"""No command line gives a traceback: whatever is typed, a command works or says in words why not."""

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detox.config import Config
from detox.errors import UserError
from detox.launch.evaluate import evaluate
from detox.launch.sweep import sweep
from detox.launch.train import parse
from detox.ps.folder import RunFolder
from detox.ps.stopwatch import PARTS
from detox.reports.blame import blame
from detox.reports.plan import plan
from detox.reports.report import report

ODD = [
    "", "-1", "0", "1", "3", "15", "1.0", "1e400", "nan", "inf", "-inf", "0x10", "1_000", "9" * 30, "9" * 5000, "true",
    "True", "None", "[1]", "{}", "x", "é", "\udc80", "a\nb", "--", "-", "-p", "--help", "~", "..", "/dev/null",
]  # fmt: skip
FILES = ["run", "run/", "half", "file", "grid.toml", "my.toml", "nowhere", "pipe", "*", "bad.toml"]
OPTIONS = {
    plan: ["-p", "-q", "-r", "-d", "--steps", "--find", "--rate", "--classes", "--aggregator", "--json", "--plan"],
    sweep: ["--todo", "-n", "--hostfile", "--restarts", "--no-resume", "--steps"],
    report: ["--target", "--tensorboard", "--best", "--out"],
    blame: ["-q", "--json", "--plot"],
    evaluate: ["--model", "--json", "--device", "best", "last"],
    parse: ["--progress", "--no-resume", "--p", "--q", "--seed", "--steps", "--attack.kind", "--attack.scale",
            "--optimizer.lr", "--optimizer.options", "--aggregator.options", "--aggregator.pre", "--fault.worker",
            "--name", "--output", "--batch-size", "--device", "--secret-seed", "--share-compute", "--colour"],
}  # fmt: skip
FIRST = {plan: ["--no-measure", "--runs", "0", "--aggregator", "median", "-p", "15", "-q", "3"], parse: ["my.toml"]}


@pytest.fixture(scope="module")
def workplace():
    """A folder with a finished run and things that are none, which is the current one."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as path:
        os.chdir(path)
        config = Config(name="tried", p=9, q=2, r=3, steps=3)
        seconds = dict.fromkeys(PARTS, 0.1)
        for name in ("run", "half"):
            folder = RunFolder(Path(name))
            folder.create(config.toml())
            folder.ledger.write_text("")
            folder.append_metrics({"step": 1, "seconds": seconds, "bytes_in": 7, "accuracy": 0.5, "loss": 0.5})
            summary = {
                "name": "tried", "steps": 3, "skipped_steps": 0, "test_accuracy": 0.5, "test_loss": 0.5,
                "bytes_into_ps": 7, "seconds_per_step": {"total": 0.5, **seconds}, "ledger": [{}] * 9,
                "hosts": [""] * 9, "weights_digest": "0123456789abcdef",
            }  # fmt: skip
            folder.finish(summary)
        (Path("half") / "summary.json").write_text(json.dumps(summary)[:40])
        Path("file").touch()
        Path("my.toml").write_text("p = 15\n")
        Path("bad.toml").write_bytes(b"p = \xff\n")
        Path("grid.toml").write_text('base = "my.toml"\n[grid]\nseed = [0, 1]\n')
        os.mkfifo("pipe")
        yield Path(path)
        os.chdir(before)


def _run(command, argv):
    """Exit status and what was said; a command that is told of a mistake by an exception says it by `main`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = command(argv)
        except SystemExit as stop:
            status = stop.code
        except UserError as error:
            status = 2
            err.write(str(error))
    return status if isinstance(status, int) else 0, out.getvalue() + err.getvalue()


@pytest.mark.parametrize("command", OPTIONS, ids=lambda command: command.__name__)
def test_no_command_line_gives_a_traceback(command, workplace):
    words = st.one_of(st.sampled_from(OPTIONS[command]), st.sampled_from(FILES), st.sampled_from(ODD))

    @settings(max_examples=20 if command is parse else 60, deadline=None, database=None, derandomize=True)
    @given(first=st.sampled_from([FIRST.get(command, ["run"]), []]), rest=st.lists(words, max_size=4))
    def check(first, rest):
        status, said = _run(command, [*first, *rest])
        assert status in (0, 2)
        assert said or status == 0
        assert "Traceback" not in said

    check()


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("command", [plan, sweep, report, blame], ids=lambda command: command.__name__)
def test_no_value_of_an_option_gives_a_traceback(command, value, workplace):
    first = FIRST.get(command, ["grid.toml" if command is sweep else "run"])
    for option in OPTIONS[command]:
        status, said = _run(command, [*first, option, value])
        assert status in (0, 2), (option, said)
        assert "Traceback" not in said
