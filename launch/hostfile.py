"""A hostfile, as far as the launcher has to know it: how many ranks it asks for, and where others dial the first."""

import codecs
import re
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from detox.config import ConfigError


def ranks_in(path: str, *, slots: bool) -> int:
    """Ranks that the file asks for; see hosts_in."""
    return sum(hosts_in(path, slots=slots).values())


def hosts_in(path: str, *, slots: bool) -> dict[str, int]:
    """By host, in the file's order, the ranks that it asks for: one per line, or as many as `slots=` says.

    Args:
        path: the file; what follows a # is a comment.
        slots: whether the MPI knows `slots=`.

    Raises:
        ConfigError: the file cannot be read, names no host, or has what mpirun would stumble over.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"hostfile {path}: {error.strerror}") from None
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"hostfile {path}: it begins with a byte order mark; save it as plain UTF-8 without")
    if b"\r" in content:
        raise ConfigError(f"hostfile {path}: its lines end as on Windows (CRLF); save it with plain line ends")
    found: dict[str, int] = {}
    several = False
    for number, line in enumerate(content.decode(errors="surrogateescape").split("\n"), 1):
        words = re.sub(r"\s*=\s*", "=", line.partition("#")[0]).split()
        if not words:
            continue
        where = f"hostfile {path}, line {number}"
        if not words[0].isascii() or not words[0].isprintable():
            raise ConfigError(f"{where}: {words[0]!a} is no name of a host")
        given = [word.partition("=")[2] for word in words[1:] if word.partition("=")[0] in ("slots", "cpu", "count")]
        if given and not slots:
            raise ConfigError(f"{where}: this MPI knows no slots=; write one line per host, and nothing behind it")
        if given and not (given[0].isdigit() and int(given[0]) > 0):
            raise ConfigError(f"{where}: slots={given[0]} is no number of ranks")
        several |= bool(given)
        if words[0] in found and several:
            raise ConfigError(f"{where}: {words[0]} has a line already; give its slots once")
        found[words[0]] = found.get(words[0], 0) + (int(given[0]) if given else 1)
    if not found:
        raise ConfigError(f"hostfile {path}: there is no host in it; it has one per line, the PS first")
    return found


def dialled(path: str) -> str:
    """The name or address of the first host, as others dial it; one of IPv6 in brackets.

    Raises:
        ConfigError: others that are in the file cannot dial it; see hosts_in for what else can be wrong.
    """
    hosts = [host.rpartition("@")[2] for host in hosts_in(path, slots=True)]  # without the user
    try:
        address = ip_address(hosts[0])
    except ValueError:
        address = None
    if address is None and ":" in hosts[0]:
        raise ConfigError(
            f"hostfile {path}: the first host is {hosts[0]}, with its slots behind a colon; say what the others dial: "
            'transport.listen = "10.0.0.1"'
        )
    if len(set(hosts)) > 1 and (_LOCAL.fullmatch(hosts[0]) if address is None else address.is_loopback):
        raise ConfigError(
            f"hostfile {path}: the first host is {hosts[0]}, which the others cannot dial; name it as they know it, or "
            'say transport.listen = "10.0.0.1"'
        )
    return f"[{address}]" if isinstance(address, IPv6Address) else hosts[0]


_LOCAL = re.compile(r"(.*\.)?localhost(\..*)?|ip6-(localhost|loopback)", re.IGNORECASE)
