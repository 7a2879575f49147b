"""The MPI job of which this process is a rank: who is in it, and how a rank leaves it; importing this starts MPI."""

import contextlib
import ctypes
import os
import signal
import sys
from typing import NoReturn

import mpi4py

from detox.wire.guard import Guard
from detox.wire.links import Links
from detox.wire.ob1 import known
from detox.wire.sockets import Loop, listening

# A peer that hangs makes MPI_Finalize hang: `leave` calls it where that is safe.
mpi4py.rc.finalize = False
mpi4py.rc.threads = False

from mpi4py import MPI  # noqa: E402

__all__ = ["MPI", "abort", "guard", "leave", "links", "world"]

links = Links(Loop(listening if known(MPI.Get_library_version(), os.environ) else lambda: None))
"""MPI's connections with other ranks, which are of the process whatever the communicator."""

_ONE_READ = 0b11  # libevent's EVLOOP_ONCE | EVLOOP_NONBLOCK


def _read_once() -> None:
    """One look of Open MPI at its sockets takes one read of each, in place of all until they are empty: a flood refills
    a socket meanwhile, the longer the busier the machine, and all of it comes into memory."""
    with contextlib.suppress(OSError, AttributeError):  # another MPI, or another Open MPI, has no such function
        ctypes.CDLL(MPI.__file__).opal_progress_set_event_flag(_ONE_READ)


_read_once()
_finalize = MPI.Finalize


def _refuse_to_finalize() -> NoReturn:
    raise RuntimeError("MPI_Finalize was called; a rank of this job leaves when the parameter server tells it to")


MPI.Finalize = _refuse_to_finalize  # of a task: the rank would hang in it until all others call it too


def world() -> MPI.Comm:
    """All ranks of the job."""
    return MPI.COMM_WORLD


def abort() -> None:
    """Ends this rank by MPI_Abort."""
    MPI.COMM_WORLD.Abort(1)


def guard() -> Guard | None:
    """A guard of the job, for the PS; None where no mpirun of Open MPI started it."""
    return Guard() if MPI.COMM_WORLD.rank == 0 and "OMPI_COMM_WORLD_SIZE" in os.environ else None


def leave(status: int, orderly: bool, guard: Guard | None = None) -> None:
    """Ends MPI; where a peer is dead or silent, ends the job, for MPI_Finalize would then never return.

    Args:
        status: of this process, if it is ended here.
        orderly: whether every rank has said that it is about to call this. A rank may have lied.
        guard: of the job.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # its reader may be gone
            stream.flush()
    if not orderly:
        if guard is not None:
            guard.let_go(at_once=True)
        os._exit(status)
    links.begin_anew()  # all have to be read for MPI to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which workers ignored so far; there is nothing left to lose
    if guard is not None:
        guard.let_go()
    _finalize()
    if guard is not None:
        guard.dismiss()
