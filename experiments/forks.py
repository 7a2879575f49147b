"""Ranks of a job that are forked from one process, which has imported what is heavy: of 90 ranks on one machine each
has 130 MB of torch to itself otherwise, and two seconds of CPU to import it.

mpirun starts `python -m experiments.forks SOCKET` on each host, in its network namespace. That process asks for a
child, which enters its namespaces and takes its environment and files; it stands for the child until this ends. The
child dies with it.
"""

import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from fcntl import F_SETFL, F_SETOWN, fcntl
from typing import NoReturn

_F_SETSIG = 10  # linux/fcntl.h
_NAMESPACES = ("net", "uts")


def serve(listener: socket.socket, over: Callable[[], bool], live: Callable[[], None]) -> None:
    """Forks a child for each that asks, until it is over.

    Args:
        listener: where they ask.
        over: whether it is.
        live: the child's life.
    """
    children: dict[int, tuple[int, socket.socket]] = {}
    while not over():
        ready, _, _ = select.select([listener, *children], [], [], 0.2)
        for ended in children.keys() & set(ready):
            pid, asking = children.pop(ended)
            asking.sendall(struct.pack("i", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
            asking.close()
            os.close(ended)
        if listener in ready:
            asking, _ = listener.accept()
            pid = os.fork()
            if pid == 0:
                listener.close()
                _be(asking, live)
            children[os.pidfd_open(pid)] = pid, asking


def _be(asking: socket.socket, live: Callable[[], None]) -> NoReturn:
    """A child's life and end; nothing of its parent is tidied up."""
    status = 1
    try:
        _become(asking)
        live()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _become(asking: socket.socket) -> None:
    """Makes this child the process that asks: its namespaces, environment and files."""
    _, files, _, _ = socket.recv_fds(asking, 1, 3 + len(_NAMESPACES))
    with asking.makefile("rb") as words:
        environment = json.loads(words.readline())
    # The kernel kills this child when the process that stands for it is gone.
    fcntl(asking, F_SETOWN, os.getpid())
    fcntl(asking, _F_SETSIG, signal.SIGKILL)
    fcntl(asking, F_SETFL, os.O_ASYNC)
    libc = ctypes.CDLL(None, use_errno=True)
    for namespace in files[3:]:
        if libc.setns(namespace, 0):
            raise OSError(ctypes.get_errno(), "setns")
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)


def main() -> int:
    """Asks for a child, and ends as it ends."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(sys.argv[1])
        namespaces = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in _NAMESPACES]
        socket.send_fds(server, [b"\0"], [0, 1, 2, *namespaces])
        server.sendall(json.dumps(dict(os.environ)).encode() + b"\n")
        status = server.recv(4, socket.MSG_WAITALL)
    return struct.unpack("i", status)[0] if status else 1


if __name__ == "__main__":
    sys.exit(main())
