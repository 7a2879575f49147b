"""`detox-ps doctor`: runs the examination of all hosts under mpirun, as a training would run there."""

import shlex
import sys
from argparse import ArgumentParser
from pathlib import Path

from detox.config import Config, ConfigError, override, read_config
from detox.launch import job
from detox.launch.launcher import add_places, address, ranks
from detox.launch.mpirun import find_mpirun, mpirun_line, program, what_is_lost
from detox.launch.secret import without
from detox.launch.train import config_first


def doctor(argv: list[str]) -> int:
    """Returns 0 where nothing is red, 1 where something is, 2 where nothing could be examined."""
    options, rest = parser().parse_known_args(argv)
    path, fields = config_first(rest)
    config = read_config(path, fields) if path else override(Config(), fields)  # a mistake needs no ranks to be told
    n = ranks(options, 3)
    lost = what_is_lost(find_mpirun())
    command = [*program(), "examine", *(["--lost", lost] if lost else [])]
    if options.history is not None:
        if not options.history.is_dir():
            raise ConfigError(f"--history: there is no folder {options.history}")
        command += ["--history", str(options.history.absolute())]
    command += [*(["--colour"] if sys.stdout is not None and sys.stdout.isatty() else []), *without(rest)]
    command += address(config, options.hostfile)
    line = mpirun_line(n, options.hostfile, command)
    print(shlex.join(line), flush=True)
    status, number = job.run(line, lambda: False)
    if number:
        return 128 + number
    # A rank that died is red; what mpirun returns then is its own affair.
    return status if status in (0, 1, 2) else 1


def parser() -> ArgumentParser:
    """The command line but for the fields of the config."""
    line = ArgumentParser(
        "detox-ps doctor",
        allow_abbrev=False,
        description="Checks what a run needs, on all its hosts: MPI, network, bits, memory, disk, data; with a config, "
        "for that run. Fields as for detox-ps train.",
    )
    add_places(line, "or 3")
    line.add_argument(
        "--history", type=Path, metavar="FOLDER", help="warn of hosts that offended in the runs of this folder"
    )
    return line
