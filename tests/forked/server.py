"""Ranks of mpirun's jobs are forked from one process that has imported what is heavy, in tests that are not about the
start: most of a short job's CPU time is the import of torch, in each of its ranks.

What mpirun starts is Python as ever, but sitecustomize.py, beside this file, asks this process for a child, gives it
its command, environment, folder and files, and stands for it until it ends: passes on signals, and ends as the child
ended. The child dies with it. To mpirun that is the rank; to MPI the child is, and to tests, which find it by its name.

What is imported here is what others wrote, and never mpi4py: all of detox is imported by the child, as by a rank that
is started the plain way. What such ranks share and others do not is the seed of Python's hashes. A rank whose
environment is another than this process's is started the plain way, and so is any where this process is gone.
"""

import contextlib
import gc
import importlib
import inspect
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from fcntl import F_SETFL, F_SETOWN, fcntl
from pathlib import Path

HEAVY = (
    "torch", "torch._dynamo", "numpy.random", "numba", "sklearn.datasets", "safetensors.torch", "pydantic.dataclasses",
    "pydantic.json_schema", "pydantic.functional_validators", "tyro", "typeguard", "rich.console", "rich.progress",
    "rich.table", "blosc", "blake3", "array_api_compat.torch", "array_api_compat.numpy", "filelock", "tomllib",
    "tomli_w",
)  # fmt: skip
_F_SETSIG = 10  # linux/fcntl.h


class Forks:
    """The process, until `end`.

    Attributes:
        variables: of the environment under which mpirun's ranks are forked.
    """

    def __init__(self) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("")  # Linux gives it a name that is in no folder, and in no other network namespace
            listener.listen(256)
            path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
            self.variables = {"PYTHONPATH": path, "DETOX_TESTS_FORK": listener.getsockname()[1:].decode()}
            line, environment = [sys.executable, __file__, str(listener.fileno())], os.environ | self.variables
            self._process = subprocess.Popen(
                line, pass_fds=[listener.fileno()], env=environment, stdin=subprocess.PIPE, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> None:
        """It ends with its input, and so with pytest, however that ends."""
        self._process.communicate(timeout=60)


def serve(listener: socket.socket) -> socket.socket:
    """Forks a child for each connection, and tells there how it ended; returns in the child, with its connection."""
    children: dict[int, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([0, listener, *children], [], [])
        if 0 in ready:
            os._exit(0)
        for ended in children.keys() & set(ready):
            pid, connection = children.pop(ended)
            with contextlib.suppress(OSError):  # nobody stands for it any more
                connection.sendall(struct.pack("i", os.waitpid(pid, 0)[1]))
            connection.close()
            os.close(ended)
        if listener in ready:
            connection, _ = listener.accept()
            if struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1] != os.getuid():
                connection.close()  # any user of this machine can dial it
                continue
            pid = os.fork()
            if pid == 0:
                for other, (_, its) in children.items():
                    its.close()
                    os.close(other)
                listener.close()
                return connection
            children[os.pidfd_open(pid)] = pid, connection


def become(connection: socket.socket, environment: dict[str, str]) -> list[str]:
    """Makes this child the rank that asks for it; returns what Python was told to run."""
    connection.sendall(json.dumps([os.getpid(), environment]).encode() + b"\n")
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    if not files:  # it starts the plain way
        os._exit(0)
    with connection.makefile("rb") as words:
        rank = json.loads(words.readline())
    # The kernel kills this child when the process that stands for it is gone.
    fcntl(connection, F_SETOWN, os.getpid())
    fcntl(connection, _F_SETSIG, signal.SIGKILL)
    fcntl(connection, F_SETFL, os.O_ASYNC)
    if select.select([connection], [], [], 0)[0]:
        os._exit(0)
    os.setpgid(0, 0)  # as mpirun does
    os.chdir(rank["folder"])
    os.environ.clear()
    os.environ.update(rank["environment"])
    os.getppid = lambda: rank["parent"]  # mpirun, which a parameter server may have to end
    Path("/proc/self/comm").write_text(f"rank {os.environ['OMPI_COMM_WORLD_RANK']}")
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1 if os.isatty(1) else -1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.path[:] = rank["path"]
    return rank["command"]


def main() -> None:
    """Serves; in a child, lives the life of a rank."""
    environment = dict(os.environ)
    for name in HEAVY:
        importlib.import_module(name)
    inspect.getmodule(main.__code__)  # which looks through all modules, and remembers
    gc.collect()
    gc.freeze()  # a child's collections would copy all of it
    connection = serve(socket.socket(fileno=int(sys.argv[1])))
    command = become(connection, environment)
    importlib.import_module("numpy").random.seed()
    start = next(index for index, word in enumerate(command) if word in ("-m", "-c"))
    if "-P" not in command[:start]:
        sys.path.insert(0, str(Path.cwd()))
    sys.argv[:] = [command[start], *command[start + 2 :]]
    if command[start] == "-m":
        runpy.run_module(command[start + 1], run_name="__main__", alter_sys=True)
    else:
        exec(command[start + 1], {"__name__": "__main__"})


if __name__ == "__main__":
    main()
