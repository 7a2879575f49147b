"""The end that dials: until there is a connection, and again when it is lost."""

import errno
import select
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator

from detox.wire.connection import Connection, EntranceError, tune
from detox.wire.keys import Keys
from detox.wire.tls import Stream

_PS = 0
_TRY, _SHAKE = 3.0, 30.0  # seconds until the other host answers, and until the other process does, which may compute
_PAUSES = (0.1, 2.0)  # seconds between two attempts, the first and the longest
_LASTED = 10.0  # seconds of a connection, after which the first pause comes again
_PS_MUTE = 10_000  # milliseconds without a sign of life from the PS's host, which always reads, until it dials again


class Dialer:
    """Connects to one peer whenever it is missing.

    Nothing that happens to a connection ends it: a link may be cut, and the other end started again. Only one that is
    not whose certificate is known, at the first connection, is the user's to mend.

    Args:
        address: host and port.
        keys: of this end.
        clock: seconds, monotonic.
        peer: the rank that is to answer there: the PS, or one below this end's.

    Attributes:
        why: what became of the last attempt.
    """

    def __init__(
        self, address: tuple[str, int], keys: Keys, clock: Callable[[], float] = time.monotonic, peer: int = _PS
    ) -> None:
        self.why = ""
        self._address = address
        self._keys = keys
        self._peer = peer
        self._context = keys.dialling[peer]
        self._clock = clock
        self._stream: socket.socket | Stream | None = None
        self._until = 0.0
        self._next = 0.0
        self._pause = _PAUSES[0]
        self._known = False  # whether there has been a connection
        self._since: float | None = None  # of a connection, until it is dialled again

    def arrivals(self, missing: Collection[int]) -> Iterator[Connection]:
        """The connection, when it has come about.

        Raises:
            EntranceError: another than the known end answers, or none that speaks TLS.
        """
        if self._peer not in missing:
            self.close()  # it has dialled itself, where it may: an attempt that nobody goes on with would keep waking
            return
        try:
            if self._stream is None:
                if self._clock() < self._next:
                    return
                if self._since is not None and self._clock() - self._since > _LASTED:
                    self._pause = _PAUSES[0]
                self._since = None
                self._dial()
            if self._agreed():
                assert isinstance(self._stream, Stream)
                connection, self._stream = Connection(self._stream, self._peer), None
                self._known, self._since, self.why = True, self._clock(), ""
                self._put_off()
                yield connection
            elif self._clock() > self._until:
                self._fail("no answer")
        except ssl.SSLError as error:
            self._fail(error.reason or str(error))
            if not self._known and isinstance(error, ssl.SSLCertVerificationError):
                host, port = self._address
                wanted = "the parameter server" if self._peer == _PS else f"rank {self._peer}"
                raise EntranceError(f"{host}:{port} is not {wanted} of these keys: {error.verify_message}") from None
        except OSError as error:
            self._fail(error.strerror or str(error))

    def _dial(self) -> None:
        """Begins an attempt."""
        self._until = self._clock() + _TRY
        host, port = self._address
        family, kind, protocol, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._stream = stream = socket.socket(family, kind, protocol)
        if self._peer == _PS:
            tune(stream, _PS_MUTE)
        else:
            tune(stream)
        code = stream.connect_ex(found)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, errno.errorcode[code])

    def _agreed(self) -> bool:
        """Goes on with the attempt; whether TLS has been agreed on."""
        if isinstance(self._stream, socket.socket):
            poll = select.poll()  # select.select takes no descriptor beyond 1023
            poll.register(self._stream, select.POLLOUT)
            if not poll.poll(0):
                return False
            if code := self._stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, errno.errorcode[code])
            self._stream = Stream(self._stream, self._context, listening=False)
            self._until = self._clock() + _SHAKE
        assert self._stream is not None
        if not self._stream.agree():
            return False
        if self._keys.whose(self._stream.certificate) != self._peer:
            raise ssl.SSLError("another certificate than the known one")
        return True

    def _fail(self, why: str) -> None:
        """Ends the attempt."""
        self.why = why
        self.close()
        self._put_off()

    def _put_off(self) -> None:
        """The next attempt comes after a pause, which grows until a connection lasts."""
        self._next = self._clock() + self._pause
        self._pause = min(2 * self._pause, _PAUSES[1])

    def watch(self, poll: select.poll) -> None:
        """Wakes up for what the attempt needs next."""
        if isinstance(self._stream, Stream):
            poll.register(self._stream, select.POLLIN)
        elif self._stream is not None:
            poll.register(self._stream, select.POLLOUT)

    def close(self) -> None:
        """Ends the attempt."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
