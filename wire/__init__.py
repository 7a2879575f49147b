"""What crosses ranks: messages with a fixed header, a codec for gradients, a session that waits, a transport over MPI.

The only package that imports MPI or blosc; `detox.wire.transport` is imported where MPI is wanted, for importing
it starts MPI.
"""

from detox.wire.codec import Codec
from detox.wire.messages import (
    BYE_LIMIT,
    DIGEST_BYTES,
    LONGEST,
    PROBE,
    Header,
    Kind,
    Message,
    Pulse,
    WireError,
    Work,
    digest_of,
    printable,
)
from detox.wire.session import Channel, Session

__all__ = [
    "BYE_LIMIT",
    "DIGEST_BYTES",
    "LONGEST",
    "PROBE",
    "Channel",
    "Codec",
    "Header",
    "Kind",
    "Message",
    "Pulse",
    "Session",
    "WireError",
    "Work",
    "digest_of",
    "printable",
]
