"""One connection of TCP: whole messages out of a stream, non-blocking, in no more memory than a message that is due."""

import socket
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from detox.errors import UserError
from detox.wire import tls
from detox.wire.messages import HEADER_BYTES, Header, Message, WireError

Admit = Callable[[int, Header, int], str]
"""Peer, header and length of a payload -> why it is read into nothing, empty where it is wanted; raises WireError where
the connection has to end."""

_READS = 512  # of the socket, and _SENDS of messages, per call: then the others have their turn
_PIECE = 2**18  # bytes that are offered to the socket at a time
_QUEUED = 1024  # messages on their way out; a peer that lets more pile up is given up
_NOWHERE = memoryview(bytearray(2**16))
_BUFFERS = 2**20  # bytes that the kernel may hold of a connection, each way
_MUTE = 60_000  # milliseconds; a rank of workers reads nothing while it computes
_IDLE = 5  # seconds without a word until the kernel asks the other host whether it is there


class EntranceError(UserError):
    """No connection can come about; the message says why, and what to do."""


def tune(stream: socket.socket, mute: int = _MUTE) -> None:
    """Makes a socket of TCP non-blocking, quick and bounded.

    Args:
        stream: the socket.
        mute: milliseconds without a sign of life from the other host, after which the kernel gives it up. A process
            that takes nothing in for as long is given up too.
    """
    stream.setblocking(False)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        stream.setsockopt(socket.SOL_SOCKET, option, _BUFFERS)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", _IDLE), ("TCP_KEEPINTVL", 1), ("TCP_USER_TIMEOUT", mute)):
        if hasattr(socket, name):  # Linux
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Connection:
    """One end of a connection that is up; TLS, if any, has been agreed on.

    A message is read header first, then its payload into a buffer of the announced length, if `admit` wants it.
    Nothing else is held: what the peer sends beyond that waits in the kernel's buffers, and then with the peer.

    Args:
        stream: the connected socket, non-blocking; or TLS over it, agreed on.
        peer: the rank at the other end.

    Attributes:
        peer: as given.
        host: the address at the other end.
        lost: why the connection is over; empty while it is not.
        bytes_received: headers and payloads that were read, the unwanted included.
    """

    def __init__(self, stream: socket.socket | tls.Stream, peer: int) -> None:
        self.lost = ""
        self.bytes_received = 0
        self.peer = peer
        self.host = _host_of(stream)
        self._stream = stream
        self._outgoing: deque[memoryview] = deque()
        self._head = memoryview(bytearray(HEADER_BYTES))
        self._header: Header | None = None  # of the payload under way
        self._fault = ""
        self._part, self._got = self._head, 0
        self._left = HEADER_BYTES  # bytes of the header or payload that have not come

    def fileno(self) -> int:
        """The socket's, for select."""
        return self._stream.fileno()

    @property
    def queued(self) -> int:
        """Messages that have not left this process whole."""
        return len(self._outgoing)

    def send(self, frame: np.ndarray) -> None:
        """Starts sending the bytes of a message, which must not change any more."""
        if len(self._outgoing) >= _QUEUED:
            self.end(f"it has not taken {_QUEUED} messages")
        elif not self.lost:
            self._outgoing.append(frame.data)
            self.flush()

    def flush(self) -> None:
        """Goes on with sending, as far as the peer takes it."""
        try:
            while self._outgoing and not self.lost:
                rest = self._outgoing[0]
                sent = self._stream.send(rest[:_PIECE])
                if sent < len(rest):
                    self._outgoing[0] = rest[sent:]
                else:
                    self._outgoing.popleft()
        except BlockingIOError:
            pass
        except OSError:  # what the peer had sent before can still be read, and then says the same
            self._outgoing.clear()

    def receive(self, admit: Admit) -> Iterator[Message]:
        """The messages that have come whole by now, or a part of them where they are many."""
        for _ in range(_READS):
            if self.lost or (self._left and not self._read()):
                return
            if self._left:
                continue
            if self._header is None:
                try:
                    self._begin(admit)
                except WireError as error:
                    self.end(str(error))
                    yield Message(self.peer, None, self._head[:0], str(error))
                    return
            if not self._left:
                yield self._finish()

    def _read(self) -> bool:
        """Reads on; whether anything came."""
        wanted = _NOWHERE[: self._left] if self._fault else self._part[self._got :]
        try:
            count = self._stream.recv_into(wanted)
        except BlockingIOError:
            return False
        except OSError as error:
            self.end(str(getattr(error, "reason", None) or error.strerror or error))
            return False
        if not count:
            self.end("the other end has closed it")
        self._got += count
        self._left -= count
        self.bytes_received += count
        return count > 0

    def _begin(self, admit: Admit) -> None:
        """Makes room for the payload that the header announces."""
        header, length = Header.read(self._head)
        self._fault = admit(self.peer, header, length)
        self._header = header
        self._part, self._got = np.empty(0 if self._fault else length, np.uint8).data, 0
        self._left = length

    def _finish(self) -> Message:
        """The message that has come; the next one's header is read from now on."""
        if self._fault:
            message = Message(self.peer, None, self._part, self._fault)
        else:
            message = Message(self.peer, self._header, self._part)
        self._header, self._fault = None, ""
        self._part, self._got, self._left = self._head, 0, HEADER_BYTES
        return message

    def end(self, why: str) -> None:
        """Closes the connection; what is under way is lost."""
        if not self.lost:
            self.lost = why
            self._outgoing.clear()
            self._part = self._head
            self._stream.close()


def _host_of(stream: socket.socket | tls.Stream) -> str:
    try:
        return str(stream.getpeername()[0])
    except OSError:
        return ""
