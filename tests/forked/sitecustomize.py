"""Python imports this at its start where this folder is in PYTHONPATH: a rank then stands for a child of server.py."""

import json
import os
import signal
import socket
import struct
import sys

FREE = (
    "OMPI_", "OPAL_", "PMIX_", "PRTE_", "PYTEST_", "LD_LIBRARY_PATH", "PATH", "PWD", "OLDPWD", "TORCHINDUCTOR_CACHE_DIR"
)  # fmt: skip


def _decisive(environment: dict[str, str]) -> dict[str, str]:
    """What a library may have read at its import: all but what mpirun tells its ranks, and what names a place."""
    return {name: value for name, value in environment.items() if not name.startswith(FREE)}


def _stand_in(connection: socket.socket) -> None:
    """Ends as the child does that is asked for; returns where this process has to be the rank itself."""
    with connection.makefile("rb") as words:
        line = words.readline()
        if not line:  # it serves another user
            return
        pid, environment = json.loads(line)
        if _decisive(environment) != _decisive(dict(os.environ)):
            return
        rank = {
            "command": sys.orig_argv,
            "environment": dict(os.environ),
            "folder": os.getcwd(),  # noqa: PTH109
            "parent": os.getppid(),
            "path": [entry for entry in sys.path if entry != os.path.dirname(__file__)],  # noqa: PTH120
        }
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT):
            signal.signal(number, lambda told, _: os.kill(pid, told))
        socket.send_fds(connection, [b"\0"], [0, 1, 2])
        connection.sendall(json.dumps(rank).encode() + b"\n")
        status = words.read(4)
    if not status:
        sys.stderr.write("the process that forks the ranks of tests is gone\n")
        os._exit(70)
    code = os.waitstatus_to_exitcode(struct.unpack("i", status)[0])
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if {"OMPI_COMM_WORLD_RANK", "DETOX_TESTS_FORK"} <= os.environ.keys() and {"-m", "-c"} & {*sys.orig_argv[1:3]}:
    with socket.socket(socket.AF_UNIX) as _connection:
        try:
            _connection.connect("\0" + os.environ["DETOX_TESTS_FORK"])
        except OSError:  # nobody listens there
            pass
        else:
            _stand_in(_connection)
