"""HOST:PORT of a command line."""

from detox.config import ConfigError


def parse_address(option: str, words: str) -> tuple[str, int]:
    """Host and port; an address of IPv6 stands in brackets.

    Raises:
        ConfigError: it is something else.
    """
    host, colon, port = words.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in bare and bare == host):
        raise ConfigError(f"{option} {words}: HOST:PORT is wanted, such as 10.0.0.1:7070 or [::1]:7070")
    return bare, int(port)
