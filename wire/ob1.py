"""What a message takes on a connection under Open MPI 5.0 (ob1 over TCP), with the settings of detox.launch.mpirun.

The numbers are those of 5.0.11; tests/mpi/test_ob1.py compares them with what the kernel counts.
"""

from collections.abc import Mapping
from math import ceil

AT_ONCE = 944
"""Bytes of a message that are sent before it is received: btl_tcp_eager_limit, less ob1's longest header."""
PART_HEADER = 40
"""Bytes before each part of a longer message that follows once it is received."""
_PART = 2**17 - 32  # bytes of such a part: btl_tcp_max_send_size, less ob1's header and some
_HEADER = 22  # before a message that is sent at once
_BEGINNING = 40  # before the beginning of a longer one
_ANSWER = 48  # that asks for the rest
_SETTINGS = {
    "btl": "tcp,self",
    "btl_tcp_flags": "send,inplace",
    "btl_tcp_eager_limit": "1024",
    "btl_tcp_rndv_eager_limit": "1024",
}


def known(version: str, environment: Mapping[str, str]) -> bool:
    """Whether all this is so.

    Args:
        version: what the MPI library says of itself.
        environment: variables of this process.
    """
    settings = {name: environment.get(f"OMPI_MCA_{name}") for name in (*_SETTINGS, "btl_tcp_max_send_size", "pml")}
    return version.startswith("Open MPI v5.0.") and settings == _SETTINGS | {"btl_tcp_max_send_size": None, "pml": None}


def at_once(size: int) -> int:
    """Bytes that come of a message of so many before it is received."""
    return size + _HEADER if size <= AT_ONCE else AT_ONCE + _BEGINNING


def behind(size: int) -> int:
    """Bytes that come of it when it is received, over one connection; over several there may be more parts."""
    rest = max(0, size - AT_ONCE)
    return rest + PART_HEADER * ceil(rest / _PART)


def answer(size: int) -> int:
    """Bytes that come back to whom it is sent by."""
    return _ANSWER if size > AT_ONCE else 0
