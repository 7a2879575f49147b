"""What crosses ranks: messages with a fixed header, a codec for gradients, a session that waits, and what carries them.

The only package that imports MPI, ssl or blosc. There are three channels: `transport` over MPI; `tcp` over TLS, with
`listener` and `dialer` for its connections and `keys`; and `memory`, within a process. `job` is a rank's life in an MPI
job: to import it or `transport` starts MPI, so they are imported where MPI is wanted.
"""

from detox.wire.codec import Chunks, Codec
from detox.wire.evidence import claim_of
from detox.wire.messages import (
    BYE_LIMIT,
    DIGEST_BYTES,
    ENDLESS,
    LIFE_BYTES,
    PROBE,
    Computed,
    Header,
    Kind,
    Message,
    Pulse,
    WireError,
    Work,
    digest_of,
    printable,
)
from detox.wire.session import Channel, Door, Session

__all__ = [
    "BYE_LIMIT",
    "DIGEST_BYTES",
    "ENDLESS",
    "LIFE_BYTES",
    "PROBE",
    "Channel",
    "Chunks",
    "Codec",
    "Computed",
    "Door",
    "Header",
    "Kind",
    "Message",
    "Pulse",
    "Session",
    "WireError",
    "Work",
    "claim_of",
    "digest_of",
    "printable",
]
