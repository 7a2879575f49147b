"""mpirun under way: it gets the signals that are for the job, and ends with the process that started it."""

import ctypes
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from detox.launch import failure
from detox.launch.mpirun import MpirunError

_GRACE = 30.0  # seconds for the PS to write its checkpoint, once it was told to end
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # found before a fork, after which little is safe


def run(line: list[str], begun: Callable[[], bool], patience: float = math.inf) -> tuple[int, int]:
    """Runs mpirun to its end; returns its exit status, and the signal that ended the run, 0 if none did.

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 tell the PS, by the SIGUSR1 that mpirun passes on, to write a checkpoint and
    end. A second one, or _GRACE seconds, make mpirun end all its ranks, and so does the first one where there is
    nothing to keep; the next one ends mpirun at once.

    Args:
        line: of mpirun.
        begun: whether the PS has begun, and so may have something to keep.
        patience: seconds for that; a rank that never comes as far as MPI would keep all others waiting in it.

    Raises:
        MpirunError: it cannot be started.
    """
    told: list[int] = []
    since, end = 0.0, time.monotonic() + patience
    steps = [signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL]

    def pass_on(number: int, _: object) -> None:
        nonlocal since
        told.append(number)
        since = since or time.monotonic()
        if process is not None:
            tell(process)

    def tell(process: subprocess.Popen[bytes]) -> None:
        if steps[0] == signal.SIGUSR1 and not begun():
            del steps[0]
        process.send_signal(steps.pop(0) if len(steps) > 1 else steps[0])

    process: subprocess.Popen[bytes] | None = None
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
        signals.append(signal.SIGHUP)
    former = {number: signal.signal(number, pass_on) for number in signals}
    try:
        # In a session of its own, or a terminal's Ctrl-C would reach mpirun as well. Of its ranks none is told to end
        # with this process: they notice by themselves when mpirun is gone.
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=partial(end_with, os.getpid())
        )
        if told:  # before there was a process to pass it on to
            tell(process)
        while True:
            try:
                return process.wait(timeout=1), told[0] if told else 0
            except subprocess.TimeoutExpired:
                if told and time.monotonic() - since > _GRACE:
                    process.send_signal(signal.SIGTERM if time.monotonic() - since < 2 * _GRACE else signal.SIGKILL)
                elif not told and time.monotonic() > end and not begun():
                    failure.say(
                        f"the parameter server has not begun within {patience:g} s: a rank may not have come as far as "
                        "MPI, or transport.start_deadline, a part of that time, is too short"
                    )
                    process.send_signal(signal.SIGTERM)
                    told.append(0)  # no signal
                    since = time.monotonic()
    except (OSError, subprocess.SubprocessError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MpirunError(f"{line[0]} cannot be started: {why}") from None
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def check_files(n: int) -> None:
    """Raises the limit of open files as far as n ranks need it, or MpirunError where that is not allowed."""
    needed = 24 + 5 * n  # with 24 in all three ranks do not start, with 40 they do
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise MpirunError(f"mpirun needs about {needed} open files for {n} ranks, and ulimit -n allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def end_with(parent: int) -> None:
    """Makes this process get SIGTERM when `parent` ends, even by SIGKILL, which nobody can pass on; on Linux alone."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)
