"""Point-to-point messages over MPI: non-blocking, polled, bounded; importing this module starts MPI."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import mpi4py
import numpy as np

from detox.wire.job import MPI, links
from detox.wire.messages import HEADER_BYTES, Header, Message, WireError
from detox.wire.ob1 import AT_ONCE
from detox.wire.session import Session

BLOCK = 2**30
"""Bytes of a message that are counted one by one: MPI's counts are int, so what is longer has blocks of so many."""
_UNDER_WAY = 1024  # messages of one peer that wait to be received at a time
# Of those that no credit bounds, so many are received at a time: each look at one that is not there yet lets MPI empty
# every socket, and what it takes of another peer's flood it holds until that peer's turn.
_AT_A_TIME = 4
_LONGEST = 2**23  # bytes of a message that is received into nothing: more than a chunk, so a late one is
# Each look takes one piece of at most 128 KB from a socket, and between two of these loops a rank may sleep.
_LOOKS = 8
_PEER_IS_GONE = {code for name in ("ERR_PROC_FAILED", "ERR_REVOKED") if (code := getattr(MPI, name, None)) is not None}


@dataclass(slots=True, eq=False)
class _Incoming:
    """A message on its way: matched, then received into `buffer`, or into nothing where there is a fault."""

    matched: MPI.Message
    size: int
    tag: int
    fault: str
    buffer: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    request: MPI.Request | None = None
    bound: int | None = None  # the kind whose credit bounds how many are received at a time; None: _AT_A_TIME does

    @property
    def ignored(self) -> bool:
        """Whether it is never received: leave to send so much could be used for anything."""
        return bool(self.fault) and self.size > _LONGEST


class Transport:
    """Messages between this rank and `peers`; nothing in it blocks.

    A peer that has died is in `dead`; nothing is sent to it or received from it any more. `limits` says how
    many bytes of payload a kind of message may have; what is longer, or of another kind, is never received
    into memory and comes out as a Message with a fault. Of a kind in `credit`, no more than that many messages of a
    peer are received at a time; without any credit they are faults. Of a peer in `quota` no more than that many.

    Args:
        comm: an MPI communicator.
        peers: the ranks to talk to.
    """

    # MPI writes into what is under way until it ends, also when a rank leaves without having waited for it.
    _kept: ClassVar[list["Transport"]] = []

    def __init__(self, comm: MPI.Comm, peers: Iterable[int]) -> None:
        self._kept.append(self)
        comm.Set_errhandler(MPI.ERRORS_RETURN)
        self._comm = comm
        self.peers = tuple(peers)
        self.dead: set[int] = set()
        self.limits: dict[int, int] = {}
        self.credit: dict[int, Counter[int]] = {}
        self.quota: dict[int, int] = {}
        self.bytes_received = 0
        self._numbers = _numbers(comm, self.peers)
        self._outgoing: dict[int, list[tuple[MPI.Request, Any]]] = {peer: [] for peer in self.peers}
        self._incoming: dict[int, list[_Incoming]] = {peer: [] for peer in self.peers}
        self._receiving: dict[int, Counter[int | None]] = {peer: Counter() for peer in self.peers}
        self._abandoned: list[object] = []  # of the dead; kept, for their last bytes may still come

    def send(self, peers: Iterable[int], header: Header, payload: bytes | memoryview = b"") -> None:
        """Starts sending one message to each of `peers`; it is copied once, so the payload may change after."""
        self.send_frame(peers, int(header.kind), header.frame(payload))

    def send_frame(self, peers: Iterable[int], tag: int, frame: np.ndarray) -> None:
        """Starts sending bytes, whatever they are, to each of `peers`; they must not change any more."""
        for peer in peers:
            if peer not in self.dead:
                self._guarded(self._start_send, peer, tag, frame)

    def _start_send(self, peer: int, tag: int, frame: np.ndarray) -> None:
        with _counted(frame) as spec, links.sending(self._numbers[peer], frame.size):
            request = self._comm.Isend(spec, dest=peer, tag=tag)
        self._outgoing[peer].append((request, frame))

    @property
    def busy(self) -> bool:
        """Whether a message is under way, in or out."""
        return any(self._incoming.values()) or any(self._outgoing.values())

    @property
    def library(self) -> Mapping[str, str]:
        """The MPI that runs this process."""
        return {"mpi": MPI.Get_library_version().splitlines()[0].split(", package")[0], "mpi4py": mpi4py.__version__}

    def sending(self, peer: int) -> int:
        """Messages to `peer` that are still under way."""
        self._guarded(self._drop_sent, peer)
        return len(self._outgoing[peer])

    def _drop_sent(self, peer: int) -> None:
        under_way = []
        for request, frame in self._outgoing[peer]:
            if request.Test():
                links.sent(self._numbers[peer], frame.size)
            else:
                under_way.append((request, frame))
        self._outgoing[peer] = under_way

    def receive(self) -> Iterator[Message]:
        """All that has arrived by now.

        It ends under a flood too: MPI takes from the sockets only when there is nothing left to hand out of a peer,
        and then no more than they hold. So a flood waits where it comes from.
        """
        for peer in self.peers:
            links.look()
            if self._outgoing[peer]:
                self._guarded(self._drop_sent, peer)
            for incoming in list(self._incoming[peer]):
                # What was under way from a peer that has died meanwhile is gone with it.
                if peer not in self.dead and self._guarded(self._has_arrived, peer, incoming):
                    self._incoming[peer].remove(incoming)
                    yield self._read(peer, incoming)
            while len(self._incoming[peer]) < _UNDER_WAY and (incoming := self._guarded(self._match, peer)) is not None:
                if self._guarded(self._has_arrived, peer, incoming):
                    yield self._read(peer, incoming)
                elif peer not in self.dead:
                    self._incoming[peer].append(incoming)

    def _match(self, peer: int) -> _Incoming | None:
        """The next message from the peer, if there is one; nothing of it has been received."""
        if peer in self.dead:
            return None
        status = MPI.Status()
        matched = self._comm.Improbe(peer, MPI.ANY_TAG, status)
        if matched is None:
            return None
        size, tag = status.Get_elements(MPI.BYTE), status.Get_tag()
        fault = ""
        if not 0 <= size <= HEADER_BYTES + self.limits.get(tag, -HEADER_BYTES):
            fault = f"{size} bytes of kind {tag}, of which nothing so long is expected"
        incoming = _Incoming(matched, size, tag, fault)
        if size <= _LONGEST:  # what is longer may never be received, and MPI keeps its beginning until then
            links.take(self._numbers[peer], size, expected=not fault)
        return incoming

    def _has_arrived(self, peer: int, incoming: _Incoming) -> bool:
        """Goes on with receiving a message."""
        if incoming.request is None:
            if not self.quota.get(peer, 1):
                return False
            credit = None if incoming.fault else self.credit.get(incoming.tag)
            if credit is not None and not credit[peer]:
                incoming.fault = f"{incoming.size} bytes of kind {incoming.tag} that were not asked for"
                credit = None
            if incoming.ignored:
                return True
            incoming.bound = None if credit is None else incoming.tag
            at_a_time = 1 if incoming.fault and incoming.size > AT_ONCE else _AT_A_TIME
            if self._receiving[peer][incoming.bound] >= (at_a_time if credit is None else credit[peer]):
                return False
            # What is unwanted is received into nothing; its sender may stall half-way, so that too is only polled.
            if not incoming.fault:
                incoming.buffer = np.empty(incoming.size, np.uint8)
            with _counted(incoming.buffer) as spec:
                incoming.request = incoming.matched.Irecv(spec)
            if incoming.size > _LONGEST:
                links.take(self._numbers[peer], incoming.size)
            links.receiving(self._numbers[peer], incoming.size, expected=not incoming.fault)
            self._receiving[peer][incoming.bound] += 1
            if self.quota.get(peer):
                self.quota[peer] -= 1
        try:
            looks = 1 if incoming.fault else _LOOKS
            arrived = any(incoming.request.Test() for _ in range(looks))
        except MPI.Exception as error:
            if not incoming.fault or error.Get_error_class() != MPI.ERR_TRUNCATE:
                raise
            arrived = True
        if arrived:
            self._receiving[peer][incoming.bound] -= 1
            links.received(self._numbers[peer], incoming.size)
        return arrived

    def _read(self, peer: int, incoming: _Incoming) -> Message:
        """The message in what has been received."""
        if incoming.fault:
            return Message(peer, None, memoryview(b""), incoming.fault)
        self.bytes_received += incoming.buffer.size
        frame = incoming.buffer.data
        try:
            header = Header.unpack(frame)
            if header.kind != incoming.tag:
                raise WireError(f"{header.kind.name} under the tag of kind {incoming.tag}")
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
            self._abandoned += [*self._outgoing[peer], *self._incoming[peer]]
            self._outgoing[peer].clear()
            self._incoming[peer].clear()
            self._receiving[peer].clear()
            return None


def _numbers(comm: MPI.Comm, peers: Sequence[int]) -> dict[int, int]:
    """The ranks of peers among all of the job, by which `links` knows them."""
    return dict(zip(peers, comm.Get_group().Translate_ranks(peers, MPI.COMM_WORLD.Get_group()), strict=True))


@contextmanager
def _counted(buffer: np.ndarray) -> Iterator[list[Any]]:
    """A buffer of uint8 as MPI takes it: what is too long for its counts as one of a type of so many bytes."""
    if buffer.size <= BLOCK:
        yield [buffer, MPI.BYTE]
        return
    many, rest = divmod(buffer.size, BLOCK)
    block = MPI.BYTE.Create_contiguous(BLOCK)
    whole = MPI.Datatype.Create_struct([many, rest], [0, many * BLOCK], [block, MPI.BYTE]).Commit()
    try:
        yield [buffer, 1, whole]
    finally:  # MPI keeps them for what is under way
        block.Free()
        whole.Free()


class Reach:
    """How a rank reaches others than the PS over MPI; see detox.launch.work.Reach.

    Args:
        comm: of all ranks.
    """

    def __init__(self, comm: MPI.Intracomm = MPI.COMM_WORLD) -> None:
        self._comm = comm

    def near(self, peers: Iterable[int]) -> Session:
        """The conversation with these ranks."""
        return Session(Transport(self._comm, peers))

    def among(self, first: int) -> Session:
        """That of all ranks from the first on; all of them have to call this."""
        everyone = self._comm.Get_group()
        comm = self._comm.Create_group(everyone.Excl(list(range(first))))
        return Session(Transport(comm, [peer for peer in range(comm.size) if peer != comm.rank]))

    def hang_up(self) -> None:
        """Nothing: a communicator is there for as long as the job."""
