"""`detox.train`: the config of a run from Python, and `detox-ps launch` with it as a process of its own."""

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detox.config import Config, ConfigError, config_from, read_toml
from detox.config.layers import flat, nested, write_config
from detox.errors import JobError, UserError
from detox.launch.failure import MISTAKE
from detox.launch.mpirun import program
from detox.reports.runs import Run

_PREFIX = "detox-ps: "  # of what failure.say prints
_KEPT = 20  # lines


def train(
    config: str | Path | Mapping[str, Any] | Config | None = None,
    *,
    ranks: int | None = None,
    hostfile: str | Path | None = None,
    restarts: int | None = None,
    resume: bool = True,
    accept_changes: bool = False,
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Trains, as `detox-ps launch` does, and waits for the end; a run that has finished is not made again.

    Ctrl-C tells the parameter server to write a checkpoint and end; a second one ends all at once. The config is
    written beside the run's folder.

    Args:
        config: a TOML file, or fields by name, those of sections as in TOML; None: the defaults.
        ranks: of MPI, the parameter server's included, launch's -n.
        hostfile, restarts, resume, accept_changes: as the options of `detox-ps launch`.
        quiet: whether to keep what the job prints to oneself.
        fields: on top of the config: `steps=100, attack={"kind": "alie"}`, or `**{"attack.kind": "alie"}`. A task may
            be the class of one.

    Returns:
        The run, which has finished.

    Raises:
        UserError: the config cannot be run, or the job found something else to mend.
        JobError: the job failed. The message of both is what it said last.
        KeyboardInterrupt: after Ctrl-C, once the job has ended; the same call resumes it.
    """
    chosen = _config(config, fields)
    words = ["--end-with", str(os.getpid())]
    words += [] if restarts is None else ["--restarts", str(restarts)]
    words += [] if ranks is None else ["-n", str(ranks)]
    words += [] if hostfile is None else ["--hostfile", str(hostfile)]
    try:
        words.append(str(write_config(chosen)))
    except OSError as error:
        raise ConfigError(f"output = {chosen.output}: {error.filename}: {error.strerror}") from None
    words += ["--no-resume"] * (not resume) + ["--accept-changes"] * accept_changes
    _run([*program(), "launch", "--progress", "lines", *words], quiet)
    return Run(chosen.folder)


def _config(config: str | Path | Mapping[str, Any] | Config | None, fields: dict[str, Any]) -> Config:
    if isinstance(config, str | Path):
        where, base = str(config), {"name": Path(config).stem, **read_toml(str(config))}
    elif isinstance(config, Config):
        where, base = config.name, config.model_dump(mode="json", exclude_none=True)
    else:
        where, base = "config", dict(config or {})
    given = flat(base) | flat(fields)
    if isinstance(task := given.get("task"), type):
        given["task"] = f"{task.__module__}:{task.__qualname__}"
        if task.__module__ == "__main__" or "." in task.__qualname__:
            raise ConfigError(
                f"task {task.__qualname__}: the ranks import it, so it has to be at the top of a module, a file in the "
                "current folder or in PYTHONPATH; in a notebook %%writefile my_task.py writes one"
            )
    return config_from(nested(given), where)


def _run(line: list[str], quiet: bool) -> None:
    """Runs the launcher to its end, and shows what it prints."""
    said: deque[str] = deque(maxlen=_KEPT)
    with _interruptible() as told, _start(line) as process:
        told.send_to(process)
        try:
            for text in process.stdout or ():
                said.append(text)
                if not quiet:
                    print(text, end="", flush=True)
        except BaseException:  # it could not be shown
            process.terminate()
            raise
    status = process.returncode
    if told.interrupted:
        raise KeyboardInterrupt
    if status:
        sentences = [text.removeprefix(_PREFIX) for text in said if text.startswith(_PREFIX)]
        kind = UserError if status == MISTAKE else JobError
        raise kind("".join(sentences or said).strip() or f"the job ended with status {status}")


def _start(line: list[str]) -> subprocess.Popen[str]:
    """The launcher, in a session of its own: Ctrl-C reaches it once, from here.

    What it prints comes here, for a notebook's standard output is no file that it could have.
    """
    return subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="backslashreplace",
        start_new_session=True,
    )


class _Interrupts:
    """What Ctrl-C does while a job runs: the process gets it, even if it comes before there is one."""

    def __init__(self) -> None:
        self.interrupted = 0
        self._process: subprocess.Popen[str] | None = None

    def send_to(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        if self.interrupted:
            process.send_signal(signal.SIGINT)

    def pass_on(self, *_: object) -> None:
        self.interrupted += 1
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)


@contextmanager
def _interruptible() -> Iterator[_Interrupts]:
    interrupts = _Interrupts()
    if threading.current_thread() is not threading.main_thread():  # where Ctrl-C never comes
        yield interrupts
        return
    former = signal.signal(signal.SIGINT, interrupts.pass_on)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, former)
