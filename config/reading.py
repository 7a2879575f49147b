"""Reading a config: from a TOML file, with the command line's fields on top."""

import tomllib
import warnings
from pathlib import Path
from typing import Any

import tyro
from pydantic import ValidationError

from detox.config.checks import check
from detox.config.derived import Config
from detox.config.fields import ConfigError, in_words
from detox.config.identity import is_name


def read_config(path: str, overrides: list[str]) -> Config:
    """The config in the TOML file `path` with the command line's `--field value` on top.

    Raises:
        ConfigError: no such file, not TOML, an unknown field, a value out of range.
        SystemExit: after --help, or after an error in the overrides, which tyro has printed.
    """
    fields = read_toml(path)
    if "name" not in fields and (is_name(Path(path).stem) or not any(_names(word) for word in overrides)):
        fields["name"] = Path(path).stem
    config = override(_parse(fields, path), overrides)
    check(config)
    return config


def _names(word: str) -> bool:
    return word.partition("=")[0] == "--name"


def config_of(path: str) -> Config:
    """The config in a TOML file as it is, whether or not it can be run; raises ConfigError as read_config does."""
    return _parse({"name": Path(path).stem, **read_toml(path)}, path)


def config_from(fields: dict[str, Any], where: str) -> Config:
    """The config with these fields; errors begin with `where`.

    Raises:
        ConfigError: as read_config does.
    """
    config = _parse(fields, where)
    try:
        check(config)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def read_toml(path: str) -> dict[str, Any]:
    """A TOML file: UTF-8, whatever the locale, with or without a byte order mark.

    Raises:
        ConfigError: no such file, or not TOML.
    """
    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(f"{path} is no file")
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8, which TOML is, at byte {error.start}: {error.reason}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not TOML that can be read: nested too deep") from None
    except ValueError as error:  # a TOMLDecodeError, or an integer of thousands of digits, or a NUL in the path
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _parse(fields: dict[str, Any], where: str) -> Config:
    try:
        return Config(**fields)
    except ValidationError as error:
        raise ConfigError(in_words(where, error, Config)) from None


def override(config: Config, overrides: list[str]) -> Config:
    """The config with `--field value` on top; raises SystemExit after --help or an error, both printed."""
    with warnings.catch_warnings():
        # Of a list in the TOML file, for which tyro sees no type.
        warnings.filterwarnings("ignore", r"The field `optimizer\.(schedule-)?options`", UserWarning)
        return tyro.cli(Config, prog="detox-ps train CONFIG.toml", args=overrides, default=config)
