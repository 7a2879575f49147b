"""HOST:PORT, on a command line or in a config."""

from detox.config.fields import ConfigError

EVERYWHERE = ("", "0.0.0.0", "::", "*")
"""Hosts that stand for all addresses of this one."""


def parse_address(option: str, words: str, port: int | None = None) -> tuple[str, int]:
    """Host and port; an address of IPv6 stands in brackets.

    Args:
        option: where the words come from.
        words: what is given there.
        port: where the words name none; None: they have to.

    Raises:
        ConfigError: it is something else.
    """
    if port is not None and (":" not in words or words.endswith("]")):
        words = f"{words}:{port}"
    host, colon, given = words.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not given.isdecimal() or int(given) > 65535 or (":" in bare and bare == host):
        raise ConfigError(f"{option} {words}: HOST:PORT is wanted, such as 10.0.0.1:7070 or [::1]:7070")
    return bare, int(given)
