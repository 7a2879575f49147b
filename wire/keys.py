"""Who is who over TCP: a key and a certificate for each end, made in one go, and each knows all others.

The folder of an end has its secret, `key.pem`, and the certificates of all ends, `peers.pem`. There is no authority
that vouches for any of them: a certificate is known, byte for byte, or it is refused.
"""

import datetime
import hashlib
import os
import re
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path

from detox.errors import UserError

SECRET, PEERS = "key.pem", "peers.pem"
PS = "ps"
"""Name of the parameter server's folder."""

_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_YEARS = 10


class KeysError(UserError):
    """Keys that cannot be used, or made; the message says which, and what to do."""


def worker_folder(worker: int) -> str:
    """Name of a worker's folder."""
    return f"worker-{worker}"


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate (DER), as `openssl x509 -fingerprint -sha256` has it but for the colons."""
    return hashlib.sha256(certificate).hexdigest()


class Keys:
    """What one end has to prove itself, and to know the others by.

    Args:
        folder: of this end.

    Attributes:
        peers: certificates of all ends (DER), by rank: the parameter server is 0, worker w is w + 1.
        rank: of this end.
        fingerprint: of its own certificate.
        listening: TLS 1.3 of the end that listens, in which both ends prove themselves; `whose` says who the other is.
        dialling: likewise of the end that dials the PS, or a rank below its own, by rank. It proves itself to that
            rank alone.

    Raises:
        KeysError: there are none, they cannot be used, or others than the owner can read the secret.
    """

    def __init__(self, folder: Path) -> None:
        try:
            found = _CERTIFICATE.findall((folder / PEERS).read_text())
            self.peers = [ssl.PEM_cert_to_DER_cert(text) for text in found]
            own = _CERTIFICATE.search((folder / SECRET).read_text())
            mode = (folder / SECRET).stat().st_mode
        except OSError as error:
            raise KeysError(f"{error.filename}: {error.strerror}; detox-ps keys makes keys") from None
        except ValueError as error:
            raise KeysError(f"{folder}: {error}; detox-ps keys makes keys") from None
        if mode & 0o077:
            raise KeysError(f"others can read {folder / SECRET}: chmod 600 {folder / SECRET}, or make new keys")
        if own is None or not self.peers:
            raise KeysError(f"{folder}: there is no certificate in {SECRET} or {PEERS}; detox-ps keys makes keys")
        certificate = ssl.PEM_cert_to_DER_cert(own.group())
        if certificate not in self.peers:
            raise KeysError(f"{folder}: the certificate in {SECRET} is not in {PEERS}; detox-ps keys makes keys")
        self.rank = self.peers.index(certificate)
        self.fingerprint = fingerprint(certificate)
        # All of them now, when what is wrong can be told, and while there is a file: ssl takes a key from nowhere else.
        try:
            self.listening = _context(ssl.PROTOCOL_TLS_SERVER, folder, self.peers)
            below = self.peers[: max(1, self.rank)]
            self.dialling = [_context(ssl.PROTOCOL_TLS_CLIENT, folder, [peer]) for peer in below]
        except OSError as error:
            why = getattr(error, "reason", None) or error.strerror
            raise KeysError(f"{folder}: {why}; detox-ps keys makes keys") from None

    def whose(self, certificate: bytes | None) -> int | None:
        """The rank whose certificate (DER) this is; None where it is none of those that are known."""
        return self.peers.index(certificate) if certificate is not None and certificate in self.peers else None


def _context(protocol: int, folder: Path, known: Iterable[bytes]) -> ssl.SSLContext:
    """TLS for the owner of a folder, towards those with one of these certificates; raises OSError."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # a known certificate says more than a name
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # no session is resumed, so none can be replayed
    context.load_cert_chain(folder / SECRET)
    context.load_verify_locations(cadata=b"".join(known))
    return context


def make(folder: Path, workers: Sequence[int]) -> dict[str, str]:
    """Makes a key for the parameter server and each worker, and a folder for each; fingerprints by folder's name.

    Args:
        folder: a new or empty one.
        workers: their ids, from 0 on.

    Raises:
        KeysError: there is something already, or the package `cryptography` is missing.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise KeysError(f"{folder} is not empty; keys that are lost would shut their owners out: name a new folder")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = [PS, *map(worker_folder, workers)]
        made = {name: _certificate(name) for name in names}
        known = b"".join(certificate for _, certificate in made.values())
        for name in names:
            write(folder / name, b"".join(made[name]), known)
    except OSError as error:
        raise KeysError(f"{error.filename}: {error.strerror}") from None
    return {name: fingerprint(ssl.PEM_cert_to_DER_cert(made[name][1].decode())) for name in names}


def write(folder: Path, secret: bytes, peers: bytes) -> None:
    """Makes the folder of an end; raises OSError where there is one already, or it cannot be made.

    Args:
        folder: a new one.
        secret: its key and its certificate (PEM).
        peers: the certificates of all ends (PEM).
    """
    folder.mkdir(mode=0o700)
    descriptor = os.open(folder / SECRET, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    (folder / PEERS).write_bytes(peers)


def _certificate(name: str) -> tuple[bytes, bytes]:
    """A new key, and a certificate that it signs itself, in PEM."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError:
        raise KeysError("keys are made by the package cryptography: pip install 'detox-ps[tcp]'") from None
    key = Ed25519PrivateKey.generate()
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # hosts' clocks differ
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
    )
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return secret, certificate.public_bytes(serialization.Encoding.PEM)
