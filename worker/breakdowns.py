"""Faults of a whole rank: it ends, hangs, or stands still."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable

BREAKDOWNS = {
    "kill": "The rank ends by SIGKILL.",
    "segfault": "The rank reads address 0.",
    "exit": "The rank ends with status 1.",
    "exception": "The rank raises an exception.",
    "abort": "The rank ends the way that MPI has for it.",
    "stop": "The rank stands still for `seconds`, by SIGSTOP.",
    "straggle": "The rank sleeps for `seconds` before it answers.",
}


def break_down(kind: str, seconds: float, abort: Callable[[], None]) -> None:
    """Does to this process what BREAKDOWNS says; where that leaves it alive, the call returns when it is over.

    Args:
        kind: a key of BREAKDOWNS.
        seconds: how long stop and straggle last.
        abort: ends this rank the way that MPI has for it.
    """
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "segfault":
        ctypes.string_at(0)
    elif kind == "exit":
        os._exit(1)
    elif kind == "exception":
        raise RuntimeError("a fault on purpose")
    elif kind == "abort":
        abort()
    elif kind == "stop":
        subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"])
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        time.sleep(seconds)
