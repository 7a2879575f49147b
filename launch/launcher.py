"""`detox-ps launch`: checks the config, then runs `detox-ps train` under mpirun with all its settings."""

import shlex
import signal
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

from detox.launch.config import ConfigError
from detox.launch.mpirun import MpirunError, local_ranks, mpirun_line
from detox.launch.train import parse
from detox.ps.folder import RunFolder


def launch(argv: list[str]) -> int:
    """Returns 0 if the run has finished, whatever mpirun says."""
    parser = ArgumentParser(
        "detox-ps launch",
        allow_abbrev=False,
        description="Prints and runs the mpirun line for a config; whatever is not an option here goes to detox-ps "
        "train (see detox-ps train --help).",
    )
    parser.add_argument("-n", type=int, help="ranks, the PS included; unset: one a line of the hostfile, or one a core")
    parser.add_argument("--hostfile", help="one host a line, the PS first; unset: all ranks on this machine")
    parser.add_argument("--progress", choices=["bar", "lines", "none"], help="unset: bar on a terminal, else lines")
    options, rest = parser.parse_known_args(argv)
    try:
        config, _ = parse(rest)
        n = options.n or (hosts_in(options.hostfile) if options.hostfile else local_ranks(config))
        progress = options.progress or ("bar" if sys.stdout.isatty() else "lines")
        command = [sys.executable, "-m", "detox.launch", "train", *rest, "--progress", progress]
        line = mpirun_line(n, options.hostfile, command)
    except (ConfigError, MpirunError) as error:
        print(f"detox-ps: {error}", file=sys.stderr)
        return 2
    print(shlex.join(line), flush=True)
    status = _run(line)
    if RunFolder(config.folder).done:
        return 0
    print(f"detox-ps: the run did not finish; the same command resumes it from {config.folder}", file=sys.stderr)
    return status or 1


def _run(line: list[str]) -> int:
    """Runs mpirun to its end. Ctrl-C reaches it by itself, SIGTERM is passed on: only mpirun can end all its ranks."""
    process = subprocess.Popen(line)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


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
