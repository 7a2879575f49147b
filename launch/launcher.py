"""`detox-ps launch`: checks the config, then runs `detox-ps train` under mpirun with all its settings."""

import shlex
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path

from detox.launch.config import ConfigError
from detox.launch.mpirun import MpirunError, local_ranks, mpirun_line, what_is_lost
from detox.launch.secret import hide
from detox.launch.train import parse
from detox.ps.folder import RunFolder
from detox.ps.lock import LockedError, is_locked

_GRACE = 30.0  # seconds for the PS to write its checkpoint, once it was told to end


def launch(argv: list[str]) -> int:
    """Returns 0 if the run has finished, whatever mpirun says; 128 + the signal's number if one ended it."""
    parser = ArgumentParser(
        "detox-ps launch",
        allow_abbrev=False,
        description="Prints and runs the mpirun line for a config; whatever is not an option here goes to detox-ps "
        "train (see detox-ps train --help).",
    )
    parser.add_argument("-n", type=int, help="ranks, the PS included; unset: one a line of the hostfile, or one a core")
    parser.add_argument("--hostfile", help="one host a line, the PS first; unset: all ranks on this machine")
    parser.add_argument("--progress", choices=["bar", "lines", "none"], help="unset: bar on a terminal, else lines")
    parser.add_argument("--restarts", type=int, default=0, help="how often a job that died is started again, to resume")
    options, rest = parser.parse_known_args(argv)
    try:
        config, train = parse(rest)
        folder = RunFolder(config.folder)
        n = options.n or (hosts_in(options.hostfile) if options.hostfile else local_ranks(config))
        if n < 2:
            raise ConfigError(f"a PS and at least one worker's rank are needed, got {n} ranks")
        progress = options.progress or ("bar" if sys.stdout.isatty() else "lines")
        command = [sys.executable, "-m", "detox.launch", "train", *hide(rest, config, folder), "--progress", progress]
        line = mpirun_line(n, options.hostfile, command)
    except (ConfigError, MpirunError) as error:
        print(f"detox-ps: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"detox-ps: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    if lost := what_is_lost(line[0]):
        print(f"warning: {lost}", file=sys.stderr)
    try:
        is_locked(folder.path, lambda text: print(f"detox-ps: {text}", file=sys.stderr))
    except LockedError as error:
        print(f"detox-ps: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"detox-ps: {folder.path}: {error.strerror}", file=sys.stderr)
        return 2
    return _start(line, folder, options.restarts, train.resume)


def _start(line: list[str], folder: RunFolder, restarts: int, resume: bool) -> int:
    """Runs the job; again, to resume, as long as it died of something that may not happen again."""
    while True:
        print(shlex.join(line), flush=True)
        before = folder.read_status()
        status, number = _run(line)
        now = folder.read_status()
        if folder.done and (resume or (now.get("status") == "finished" and now != before and "start_over" not in now)):
            return 0
        replaces = folder.replaces or "start_over" in now
        _bring_back(folder)
        now = now.get("start_over", now)
        why = now.get("why") or "the job died"
        if number or now == before or not now.get("again") or not restarts:
            break
        restarts -= 1
        print(f"detox-ps: {why}; starting it again, at most {restarts} times more", file=sys.stderr)
        if not resume and not replaces:
            line, resume = [*line, "--resume"], True  # what it was to replace is gone
    print(f"detox-ps: the run did not finish; the same command resumes it from {folder.path}", file=sys.stderr)
    return 128 + number if number else status or 1


def _bring_back(folder: RunFolder) -> None:
    """Puts an earlier run back in its place where the one that was to replace it was killed before its first step."""
    if folder.replaces:
        with suppress(LockedError, OSError), folder.held(lambda _: None):
            folder.bring_back()


def _run(line: list[str]) -> tuple[int, int]:
    """Runs mpirun to its end; returns its exit status, and the signal that ended the run, 0 if none did.

    Ctrl-C, SIGTERM and SIGUSR1 tell the PS, by the SIGUSR1 that mpirun passes on, to write a checkpoint and end. A
    second one, or _GRACE seconds, end mpirun, which takes all its ranks along.
    """
    # In a session of its own, or a terminal's Ctrl-C would reach mpirun as well.
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, start_new_session=True)
    told: list[tuple[int, float]] = []

    def pass_on(number: int, _: object) -> None:
        process.send_signal(signal.SIGTERM if told else signal.SIGUSR1)
        told.append((number, time.monotonic()))

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    former = {number: signal.signal(number, pass_on) for number in signals}
    try:
        while True:
            try:
                return process.wait(timeout=1), told[0][0] if told else 0
            except subprocess.TimeoutExpired:
                if told and time.monotonic() - told[0][1] > _GRACE:
                    process.terminate()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def hosts_in(hostfile: str) -> int:
    """Lines with a host; comments have lines of their own.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        lines = Path(hostfile).read_text().splitlines()
    except OSError as error:
        raise ConfigError(f"hostfile {hostfile}: {error.strerror}") from None
    return sum(1 for line in lines if line.strip() and not line.startswith("#"))
