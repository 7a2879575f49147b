"""`detox-ps doctor`: runs the examination of all hosts under mpirun, as a training would run there."""

import shlex
import subprocess
import sys
from argparse import ArgumentParser

from detox.launch.config import ConfigError
from detox.launch.launcher import hosts_in
from detox.launch.mpirun import MpirunError, find_mpirun, mpirun_line, what_is_lost
from detox.launch.secret import without


def doctor(argv: list[str]) -> int:
    """Returns 0 where nothing is red, 1 where something is, 2 where nothing could be examined."""
    parser = ArgumentParser(
        "detox-ps doctor",
        allow_abbrev=False,
        description="Checks what a run needs, on all its hosts: MPI, network, bits, memory, disk, data; with a config, "
        "for that run. Fields as for detox-ps train.",
    )
    parser.add_argument("-n", type=int, help="ranks, the PS included; unset: one a line of the hostfile, or 3")
    parser.add_argument("--hostfile", help="one host a line, the PS first; unset: all ranks on this machine")
    options, rest = parser.parse_known_args(argv)
    try:
        n = options.n or (hosts_in(options.hostfile) if options.hostfile else 3)
        if n < 2:
            raise ConfigError(f"a PS and at least one worker's rank are needed, got {n} ranks")
        lost = what_is_lost(find_mpirun())
        command = [sys.executable, "-m", "detox.launch", "examine", *(["--lost", lost] if lost else [])]
        command += [*(["--colour"] if sys.stdout.isatty() else []), *without(rest)]
        line = mpirun_line(n, options.hostfile, command)
    except (ConfigError, MpirunError) as error:
        print(f"detox-ps: {error}", file=sys.stderr)
        return 2
    print(shlex.join(line), flush=True)
    status = subprocess.run(line, stdin=subprocess.DEVNULL, check=False).returncode
    # A rank that died is red; what mpirun returns then is its own affair.
    return status if status in (0, 1, 2) else 1
