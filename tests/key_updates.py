"""A peer that makes its records of TLS 1.3 itself, and so updates its keys as often as it likes (RFC 8446), which
Python's ssl does not do."""

import contextlib
import socket
import ssl
import struct
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from detox.wire.keys import Keys

_UPDATE = bytes.fromhex("1800000100")  # KeyUpdate, which asks for none in return
_HANDSHAKE, _DATA = b"\x16", b"\x17"


class Updater:
    """Connects to an address with a key.

    Args:
        address: host and port.
        own: the keys.
        log: a new file, in which ssl writes the secrets of the connection.
    """

    def __init__(self, address: tuple[str, int], own: Keys, log: Path) -> None:
        own.dialling[0].keylog_filename = str(log)
        self._log = log
        self._stream = socket.create_connection(address)
        self._stream.setblocking(False)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = own.dialling[0].wrap_bio(self._incoming, self._outgoing)
        self._secret, self._number = b"", 0

    def shake(self) -> bool:
        """Goes on with the handshake; whether it is over."""
        with contextlib.suppress(BlockingIOError):
            self._incoming.write(self._stream.recv(2**16))
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            assert self._tls.cipher()[0] == "TLS_AES_256_GCM_SHA384"
            (line,) = [one for one in self._log.read_text().splitlines() if one.startswith("CLIENT_TRAFFIC_SECRET_0")]
            self._secret = bytes.fromhex(line.split()[2])
        self.send(self._outgoing.read())
        return bool(self._secret)

    def data(self, content: bytes) -> bytes:
        """A record of data."""
        return self._record(content, _DATA)

    def updates(self, count: int) -> bytes:
        """So many records that update its keys."""
        found = []
        for _ in range(count):
            found.append(self._record(_UPDATE, _HANDSHAKE))
            self._secret, self._number = self._expand("traffic upd", 48), 0
        return b"".join(found)

    def send(self, content: bytes) -> None:
        """Sends bytes as they are, as far as the other end takes them."""
        with contextlib.suppress(OSError):
            self._stream.send(content)

    def close(self) -> None:
        self._stream.close()

    def _record(self, content: bytes, kind: bytes) -> bytes:
        head = b"\x17\x03\x03" + struct.pack(">H", len(content) + 17)
        number = int.from_bytes(self._expand("iv", 12)) ^ self._number
        self._number += 1
        return head + AESGCM(self._expand("key", 32)).encrypt(number.to_bytes(12), content + kind, head)

    def _expand(self, label: str, length: int) -> bytes:
        """HKDF-Expand-Label of 7.1, without a context."""
        name = b"tls13 " + label.encode()
        info = struct.pack(">HB", length, len(name)) + name + b"\0"
        return HKDFExpand(hashes.SHA384(), length, info).derive(self._secret)
