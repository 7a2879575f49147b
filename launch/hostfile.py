"""A hostfile, as far as the launcher has to know it: how many ranks it asks for, and on which host the first is."""

import codecs
import re
from pathlib import Path

from detox.config import ConfigError


def ranks_in(path: str, *, slots: bool) -> int:
    """Ranks that the file asks for: one per line with a host, or as many as `slots=` says.

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
    return sum(found.values())


def first_host(path: str) -> str:
    """The host of the first rank, by the name or address that the file gives it; see ranks_in for what can be wrong."""
    lines = (line.partition("#")[0].split() for line in Path(path).read_text().splitlines())
    return next(words[0] for words in lines if words)
