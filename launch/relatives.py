"""The runs of one name: the shorter one that a new one goes on from, and how it differs from the nearest."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from detox.config import Config, ConfigError, config_of, known_secret
from detox.ps.folder import RunFolder

_SHOWN = 3  # fields


@dataclass(frozen=True)
class Relative:
    """Another run.

    Attributes:
        folder: its folder.
        differs: the fields that make it another, with the values there and here; empty where a secret seed does, which
            no folder's config says, or another version.
    """

    folder: RunFolder
    differs: dict[str, tuple[Any, Any]]


def relatives(config: Config) -> list[Relative]:
    """The runs of this name in the same output, the nearest first; those whose config cannot be read are left out."""
    here, found = dict(_flat(config.deciding)), []
    for path in sorted(config.folder.parent.glob(f"{_escaped(config.name)}-*/config.toml")):
        if path.parent.name == config.folder.name:
            continue
        try:
            there = dict(_flat(config_of(str(path)).deciding))
        except (ConfigError, OSError):
            continue
        names = [name for name in {**here, **there} if name != "secret_seed" and here.get(name) != there.get(name)]
        differs = {name: (there.get(name), here.get(name)) for name in names}
        found.append(Relative(RunFolder(path.parent), differs))
    return sorted(found, key=lambda other: len(other.differs))


def predecessor(config: Config) -> RunFolder | None:
    """The longest run that differs by fewer `steps` alone, and has a checkpoint to go on from."""
    return _predecessor(config, relatives(config))


def why_new(config: Config) -> str:
    """Why the run is a new one, in a sentence; empty where there is no other of its name."""
    others = relatives(config)
    if (shorter := _predecessor(config, others)) is not None:
        return f"{config.folder} goes on from {shorter.path}, which differs in steps alone, and stays as it is"
    if not others:
        return ""
    nearest = others[0]
    if not nearest.differs:
        return f"{config.folder} is a new run: {nearest.folder.path} has another secret_seed, or is of another version"
    told = [f"{name} ({_shown(there)} there, {_shown(here)} here)" for name, (there, here) in nearest.differs.items()]
    more = f" and {len(told) - _SHOWN} more" * (len(told) > _SHOWN)
    return f"{config.folder} is a new run: {nearest.folder.path} differs in {', '.join(told[:_SHOWN])}{more}"


def _predecessor(config: Config, others: list[Relative]) -> RunFolder | None:
    shorter = [
        (other.differs["steps"][0], other.folder)
        for other in others
        if list(other.differs) == ["steps"] and other.differs["steps"][0] < other.differs["steps"][1]
        if other.folder.resumable and other.folder.read_status().get("status") != "running"
        if known_secret(config) in (None, other.folder.read_secret())
    ]
    return max(shorter, key=lambda item: item[0])[1] if shorter else None


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict) and value and not prefix:
            yield from _flat(value, f"{name}.")
        else:
            yield prefix + name, value


def _shown(value: Any) -> str:
    return "unset" if value is None else json.dumps(value)


def _escaped(name: str) -> str:
    """For a pattern of names."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
