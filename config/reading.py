"""Reading a config: from a TOML file, with the command line's fields on top."""

import io
import tomllib
import warnings
from contextlib import redirect_stderr, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import ValidationError, create_model

from detox.config.checks import check
from detox.config.derived import Config
from detox.config.fields import ConfigError, Section, in_words
from detox.config.identity import is_name

S = TypeVar("S", bound=Section)


def read_config(path: str, overrides: list[str]) -> Config:
    """The config in the TOML file `path` with the command line's `--field value` on top.

    Raises:
        ConfigError: no such file, not TOML, an unknown field, a value that does not suit its field.
        SystemExit: after --help, or after another error in the overrides, which tyro has printed.
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
    """The config with `--field value` on top.

    Raises:
        ConfigError: a value does not suit its field.
        SystemExit: after --help, or another error, both printed.
    """
    if not overrides:
        return config
    with warnings.catch_warnings():
        # Of a list in the TOML file, for which tyro sees no type.
        warnings.filterwarnings("ignore", r"The field `(optimizer\.)?(schedule-)?options`", UserWarning)
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                return _override_some(config, overrides)
        except (SystemExit, ValidationError):
            if not {"-h", "--help"} & set(overrides):
                _check_values(config, overrides)
            return _by_tyro(config, overrides)


def _override_some(config: Config, overrides: list[str]) -> Config:
    """`override`, for which tyro sees only the fields that are named: for all of them it takes 0.1 s in each rank.

    Raises:
        SystemExit: a name is of no field, or tyro does not take a value.
        ValidationError: pydantic does not.
    """
    types = get_type_hints(Config, include_extras=True)
    named = {word[2:].partition("=")[0].partition(".")[0].replace("-", "_") for word in overrides if word[:2] == "--"}
    if not named <= types.keys():
        raise SystemExit(2)
    fields: Any = {name: (types[name], getattr(config, name)) for name in sorted(named)}
    given = _by_tyro(create_model("Config", __base__=Section, **fields)(), overrides)
    return Config(**{**dict(config), **dict(given)})


def _by_tyro(fields: S, overrides: list[str]) -> S:
    import tyro  # which ranks of workers have no use for

    return tyro.cli(type(fields), prog="detox-ps train CONFIG.toml", args=overrides, default=fields)


def _check_values(config: Config, overrides: list[str]) -> None:
    """Raises ConfigError where pydantic refuses a value, which tyro tells in Python's words."""
    for word, value in pairwise([*overrides, "--"]):
        name, equals, behind = word.partition("=")
        text = behind if equals else value
        *sections, field = name.removeprefix("--").replace("-", "_").split(".")
        fields = config.model_dump()
        inner: Any = fields
        for section in sections:
            inner = inner.get(section) if isinstance(inner, dict) else None
        if name.startswith("--") and isinstance(inner, dict) and field in inner and not text.startswith("--"):
            inner[field] = text
            try:  # what reads like a number may be meant as text
                Config(**fields)
            except ValidationError:
                inner[field] = _value(text)
                _parse(fields, "on the command line")


def _value(text: str) -> Any:
    """A value as the command line has it: a number or a truth where it reads like one, else the text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)
