"""TLS over a non-blocking socket, in portions, so that no peer keeps this process in a call of it."""

import contextlib
import errno
import socket
import ssl

_PORTION = memoryview(bytearray(2**14))  # of what comes; a record of TLS has as much data at most
_PIECE = 2**16  # bytes of data that are sealed at a time
_AROUND = 22  # bytes of a record around its data: 5 in front, the type, 16 of authentication
_LOOSE = 2**15  # bytes beyond that: the handshake, 2 KiB, and a record that has not come whole
_TOO_MUCH = f"more than {_LOOSE} bytes of TLS overhead"


class Stream:
    """TLS over a connected, non-blocking socket: `send`, `recv_into` and the rest are as a socket's.

    In an ssl.SSLSocket OpenSSL reads on for as long as what comes is no data: a peer that sends nothing but updates of
    its keys, which take 27 bytes each, keeps its process in one call for ever. Here OpenSSL gets a portion at a time,
    and a peer that sends more than a handshake's bytes around its data is given up.

    Args:
        stream: the socket.
        context: of this end.
        listening: whether this is the end that was dialled.
    """

    def __init__(self, stream: socket.socket, context: ssl.SSLContext, *, listening: bool) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=listening)
        self._fed = self._given = self._records = 0  # bytes that came, those of data among them, and its records
        self._sealed = memoryview(b"")
        self._taken = 0  # bytes of data that have been sealed, and not all sent

    def agree(self) -> bool:
        """Goes on with the handshake; whether it is over.

        Raises:
            OSError: there will be no TLS.
        """
        try:
            while True:
                try:
                    self._tls.do_handshake()
                    self._flush()
                    return True
                except ssl.SSLWantReadError:
                    self._flush()
                    if not self._fill():
                        raise ConnectionResetError(errno.ECONNRESET, "the other end has closed it") from None
        except BlockingIOError:
            return False
        except ssl.SSLError:
            with contextlib.suppress(OSError):
                self._flush()  # the other end is told why
            raise

    @property
    def certificate(self) -> bytes | None:
        """Of the other end (DER), once they have agreed."""
        return self._tls.getpeercert(binary_form=True)

    def recv_into(self, buffer: memoryview) -> int:
        """Bytes of data that have come into `buffer`, 0 at the end; raises OSError, BlockingIOError where none has."""
        while True:
            fresh = not self._tls.pending()  # or the data is the rest of a record that has been counted
            try:
                count: int = self._tls.read(len(buffer), buffer)  # type: ignore[assignment]
            except ssl.SSLWantReadError:
                if not self._fill():
                    return 0
            else:
                self._given += count
                self._records += fresh
                return count

    def _fill(self) -> bool:
        """Gives TLS the next portion of what has come; False at the end."""
        if self._fed > self._given + _AROUND * self._records + _LOOSE:
            raise ConnectionAbortedError(errno.ECONNABORTED, _TOO_MUCH)
        count = self._stream.recv_into(_PORTION)
        self._incoming.write(_PORTION[:count])
        self._fed += count
        return count > 0

    def send(self, data: memoryview) -> int:
        """Bytes of data that have left; raises OSError, BlockingIOError where not all that is sealed has.

        Then it is to be called with the same data again.
        """
        while self._taken < min(len(data), _PIECE):
            self._taken += self._tls.write(data[self._taken : _PIECE])
        self._flush()
        taken, self._taken = self._taken, 0
        return taken

    def _flush(self) -> None:
        while self._sealed or self._outgoing.pending:
            if not self._sealed:
                self._sealed = memoryview(self._outgoing.read())
            self._sealed = self._sealed[self._stream.send(self._sealed) :]

    def fileno(self) -> int:
        """The socket's, for select."""
        return self._stream.fileno()

    def getpeername(self) -> tuple[str, int]:
        """Host and port at the other end."""
        host, port = self._stream.getpeername()[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Closes the socket; nothing can be done with it any more, and it takes no memory."""
        self._stream.close()
        del self._tls, self._incoming, self._outgoing, self._sealed
