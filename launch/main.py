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
import importlib  # noqa: E402
import signal  # noqa: E402

from detox.launch import environment  # noqa: E402

_USAGE = """detox-ps: an MPI parameter server that survives Byzantine workers

  detox-ps launch [-n N] [--hostfile H] CONFIG.toml [--field value ...]   train under mpirun
  detox-ps train CONFIG.toml [--field value ...]                          one rank of it; mpirun runs this
  detox-ps doctor [-n N] [--hostfile H] [CONFIG.toml]                     checks hosts, network, data and bits
  detox-ps plan -p P -q Q [-r R] [--find P] [--plot FILE.png] [--json]    bad votes, what tolerates them, their cost
  detox-ps sweep GRID.toml [--todo] [-n N] [--hostfile H]                 one command per run of a grid
  detox-ps report RUN... [--plot FILE.png]                                table and picture of finished runs
  detox-ps blame RUN [--plot FILE.png] [--json]                           what its ledger says of each worker
  detox-ps evaluate RUN [--model best|last|FILE] [--json]                 the scores of the weights that it left
  detox-ps watch RUN [--once]                                             a run while it trains
  detox-ps list [rules|attacks|tasks|...]                                 what a config can name, one line each
  detox-ps config --show CONFIG.toml | --schema                           a config with its defaults; its JSON schema
  detox-ps new task NAME                                                  writes a task and a config that run

Each command has --help. detox-ps --version prints the version.
"""
_COMMANDS = {
    "launch": "launch.launcher",
    "train": "launch.train",
    "doctor": "launch.doctor",
    "examine": "launch.train",  # what the doctor runs under mpirun
    "plan": "reports.plan",
    "sweep": "launch.sweep",
    "report": "reports.report",
    "blame": "reports.blame",
    "evaluate": "launch.evaluate",
    "watch": "reports.watch",
    "list": "commands.listing:list_",
    "config": "commands.configs",
    "new": "commands.new",
}
_OF_RANKS = ("train", "examine")


def main() -> None:
    """Runs a command: it takes its arguments, returns its exit status, and may raise what `failure` puts into words.

    Threads and instruction set are fixed before torch is imported. A signal ends a command without a word, and so does
    a pipe whose reader is gone, as with other tools.
    """
    command, *argv = sys.argv[1:] or ["--help"]
    if command in _OF_RANKS:
        environment.hold_signals()
    else:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda told, _: os._exit(128 + told))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # None where it is closed
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(command, argv))


def _run(command: str, argv: list[str]) -> int:
    try:
        environment.apply()
        if command in _COMMANDS:
            module, _, name = _COMMANDS[command].partition(":")
            status: int = getattr(importlib.import_module(f"detox.{module}"), name or command)(argv)
        elif command in ("-h", "--help"):
            print(_USAGE, end="")
            status = 0
        elif command == "--version":
            from importlib.metadata import version

            print(f"detox-ps {version('detox-ps')}")
            status = 0
        else:
            from detox.errors.words import nearest

            known = nearest(command, [name for name in _COMMANDS if f" {name} " in _USAGE])
            print(f"detox-ps: there is no command {command}{known}\n\n{_USAGE}", end="", file=sys.stderr)
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
