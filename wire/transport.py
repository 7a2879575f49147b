"""Point-to-point messages over MPI: non-blocking, polled, bounded; importing this module starts MPI."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mpi4py
import numpy as np

from detox.wire.messages import HEADER_BYTES, Header, WireError

# A peer that hangs makes MPI_Finalize hang: `leave` calls it where that is safe.
mpi4py.rc.finalize = False
mpi4py.rc.threads = False

from mpi4py import MPI  # noqa: E402

_PATIENCE = 10  # seconds that MPI_Finalize may take
_PEER_IS_GONE = {code for name in ("ERR_PROC_FAILED", "ERR_REVOKED") if (code := getattr(MPI, name, None)) is not None}


@dataclass(frozen=True, slots=True)
class Message:
    """What arrived from a rank: a header and its payload, or the fault that made it no message.

    Attributes:
        source: the sender's rank, as MPI knows it.
        header: None where there is a fault.
        payload: a view of the received bytes, valid as long as it is held.
        fault: why this is no message; empty where it is one.
    """

    source: int
    header: Header | None
    payload: memoryview
    fault: str = ""


class Transport:
    """Messages between this rank and `peers`; nothing in it blocks.

    A peer that has died is in `dead`; nothing is sent to it or received from it any more. `limits` says how
    many bytes of payload a kind of message may have; what is longer, or of another kind, is never received
    into memory and comes out as a Message with a fault.

    Args:
        comm: an MPI communicator.
        peers: the ranks to talk to.
    """

    def __init__(self, comm: MPI.Comm, peers: Iterable[int]) -> None:
        comm.Set_errhandler(MPI.ERRORS_RETURN)
        self._comm = comm
        self.peers = tuple(peers)
        self.dead: set[int] = set()
        self.limits: dict[int, int] = {}
        self.bytes_received = 0
        self._outgoing: dict[int, list[tuple[MPI.Request, Any]]] = {peer: [] for peer in self.peers}
        self._incoming: dict[int, tuple[MPI.Request, np.ndarray, int, str]] = {}

    def send(self, peers: Iterable[int], header: Header, payload: bytes | memoryview = b"") -> None:
        """Starts sending one message to each of `peers`; it is copied once, so the payload may change after."""
        frame = np.empty(HEADER_BYTES + len(payload), np.uint8)
        frame[:HEADER_BYTES] = np.frombuffer(header.pack(len(payload)), np.uint8)
        frame[HEADER_BYTES:] = np.frombuffer(payload, np.uint8)
        for peer in peers:
            if peer not in self.dead:
                self._guarded(self._start_send, peer, header, frame)

    def _start_send(self, peer: int, header: Header, frame: np.ndarray) -> None:
        request = self._comm.Isend([frame, MPI.BYTE], dest=peer, tag=int(header.kind))
        self._outgoing[peer].append((request, frame))

    def sending(self, peer: int) -> int:
        """Messages to `peer` that are still under way."""
        self._guarded(self._drop_sent, peer)
        return len(self._outgoing[peer])

    def _drop_sent(self, peer: int) -> None:
        self._outgoing[peer] = [entry for entry in self._outgoing[peer] if not entry[0].Test()]

    def receive(self) -> Iterator[Message]:
        """What has arrived by now, at most one message a peer, so that no peer shuts out another."""
        for peer in self.peers:
            if peer in self.dead:
                continue
            if self._outgoing[peer]:
                self._guarded(self._drop_sent, peer)
            message = self._guarded(self._receive_from, peer)
            if message is not None:
                yield message

    def _receive_from(self, peer: int) -> Message | None:
        if peer not in self._incoming:
            status = MPI.Status()
            matched = self._comm.Improbe(peer, MPI.ANY_TAG, status)
            if matched is None:
                return None
            size, tag = status.Get_count(MPI.BYTE), status.Get_tag()
            fault = ""
            if not 0 <= size <= HEADER_BYTES + self.limits.get(tag, -HEADER_BYTES):
                fault = f"{size} bytes of kind {tag}, of which nothing so long is expected"
            # What is too long is received into nothing; its sender may stall half-way, so that too is only polled.
            buffer = np.empty(0 if fault else size, np.uint8)
            self._incoming[peer] = (matched.Irecv([buffer, MPI.BYTE]), buffer, tag, fault)
        request, buffer, tag, fault = self._incoming[peer]
        if not _arrived(request, truncated=bool(fault)):
            return None
        del self._incoming[peer]
        if fault:
            return Message(peer, None, memoryview(b""), fault)
        self.bytes_received += buffer.size
        frame = buffer.data
        try:
            header = Header.unpack(frame)
            if header.kind != tag:
                raise WireError(f"{header.kind.name} under the tag of kind {tag}")
            return Message(peer, header, frame[HEADER_BYTES:])
        except WireError as error:
            return Message(peer, None, frame[:0], str(error))

    def _guarded(self, act: Callable[..., Any], peer: int, *arguments: Any) -> Any:
        """Runs `act` for the peer; where MPI says that it has failed, notes its death and returns None."""
        try:
            return act(peer, *arguments)
        except MPI.Exception as error:
            if error.Get_error_class() not in _PEER_IS_GONE:
                raise
            self.dead.add(peer)
            self._outgoing[peer].clear()
            self._incoming.pop(peer, None)
            return None


def _arrived(request: MPI.Request, truncated: bool) -> bool:
    """Whether a receive has ended; one that was too short on purpose ends in an error."""
    try:
        return bool(request.Test())
    except MPI.Exception as error:
        if truncated and error.Get_error_class() == MPI.ERR_TRUNCATE:
            return True
        raise


def world() -> MPI.Comm:
    """All ranks of the job."""
    return MPI.COMM_WORLD


def workers() -> MPI.Comm:
    """All ranks but the first, which are one less here; all of them have to call this."""
    everyone = MPI.COMM_WORLD.Get_group()
    return MPI.COMM_WORLD.Create_group(everyone.Excl([0]))


def library() -> Mapping[str, str]:
    """The MPI that runs this process, for reports."""
    return {"mpi": MPI.Get_library_version().splitlines()[0].split(", package")[0], "mpi4py": mpi4py.__version__}


def leave(status: int, orderly: bool) -> None:
    """Ends MPI; where a peer is dead or silent, ends the job, for MPI_Finalize would then never return.

    Args:
        status: of this process, if it is ended here.
        orderly: whether every rank has said that it is about to call this. A rank may have lied.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # The parent of the PS is mpirun, or its daemon on this host.
    ends_the_job = MPI.COMM_WORLD.rank == 0 and "OMPI_COMM_WORLD_SIZE" in os.environ
    if not orderly:
        if ends_the_job:
            with contextlib.suppress(OSError):
                os.kill(os.getppid(), signal.SIGTERM)
        os._exit(status)
    watchdog = None
    if ends_the_job:
        # In a process of its own: MPI_Finalize does not let Python's threads or signal handlers run.
        watchdog = subprocess.Popen(["sh", "-c", f"sleep {_PATIENCE} && kill -TERM {os.getppid()}"])
    MPI.Finalize()
    if watchdog is not None:
        watchdog.kill()
        watchdog.wait()
