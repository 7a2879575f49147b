"""The secret seed on its way to the parameter server: by a file that only its owner reads, not by arguments."""

from collections.abc import Sequence
from pathlib import Path

from detox.config import Config, ConfigError
from detox.ps.folder import RunFolder

_FIELD = "--secret-seed"


def hide(words: Sequence[str], config: Config, folder: RunFolder) -> list[str]:
    """The words of a command line with the secret seed in a file of the run's folder, which they name instead.

    Args:
        words: for `detox-ps train`.
        config: which they gave.
        folder: of the run.
    """
    rest = without(words)
    if config.secret_seed is None or len(rest) == len(words):
        return list(words)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.keep_secret(lambda: 0, known=config.secret_seed)
    return [*rest, f"{_FIELD}-file", str(folder.secret)]


def without(words: Sequence[str]) -> list[str]:
    """The words of a command line without the secret seed and the option before it."""
    rest, skip = [], False
    for word in words:
        name, equals, _ = word.replace("_", "-").partition("=")
        if not skip and name != _FIELD:
            rest.append(word)
        skip = not skip and name == _FIELD and not equals
    return rest


def read(path: str) -> int:
    """The seed in a file.

    Raises:
        ConfigError: there is none.
    """
    try:
        return int(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise ConfigError(f"{_FIELD}-file {path}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{_FIELD}-file {path}: it holds no number") from None
