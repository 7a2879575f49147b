"""The command `detox-ps`."""

import _signal  # type: ignore[import-not-found]  # which `signal` is made of: Ctrl-C may come while that is imported
import os
import sys

from detox.launch.path import leave_current_folder_out

_is_command = os.path.basename(sys.argv[0]) in ("detox-ps", "__main__.py")  # noqa: PTH119
if _is_command and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
leave_current_folder_out(sys.path)  # before anything is imported that might be found there

import contextlib  # noqa: E402
import signal  # noqa: E402

from detox.launch import environment  # noqa: E402
from detox.launch.commands import COMMANDS, usage  # noqa: E402


def main() -> None:
    """Runs a command: it takes its arguments, returns its exit status, and may raise what `failure` puts into words.

    Threads and instruction set are fixed before torch is imported. A signal ends a command without a word, and so does
    a pipe whose reader is gone, as with other tools.
    """
    command, *argv = sys.argv[1:] or ["--help"]
    if command in COMMANDS and COMMANDS[command].of_ranks:
        environment.hold_signals()
        environment.begin_start()
    else:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda told, _: os._exit(128 + told))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # None where it is closed
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(command, argv))


def run(command: str, argv: list[str]) -> int:
    """Runs a command, and puts into words what it raises; returns its exit status."""
    try:
        environment.apply()
        if command in COMMANDS:
            status = COMMANDS[command].run(command)(argv)
        elif command in ("-h", "--help"):
            print(usage(), end="")
            status = 0
        elif command == "--version":
            from importlib.metadata import version

            print(f"detox-ps {version('detox-ps')}")
            status = 0
        else:
            from detox.errors.words import nearest

            known = nearest(command, [name for name, known in COMMANDS.items() if not known.hidden])
            print(f"detox-ps: there is no command {command}{known}\n\n{usage()}", end="", file=sys.stderr)
            status = 2
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except SystemExit as exit_:  # argparse's and tyro's, who have said why
        if isinstance(exit_.code, str):
            print(f"detox-ps: {exit_.code}", file=sys.stderr)
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains when it ends
        return 128 + signal.SIGPIPE
    except BaseException as error:
        from detox.launch import failure

        failure.say(error)
        return failure.status_of(error)
