"""Fields on top of other fields, section by section; and the file of the config that they make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detox.config.derived import Config
from detox.ps.files import write_whole


def flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}, so that a field can be replaced without its section."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of flat."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        *sections, last = name.split(".")
        inner = found
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                break  # a value where there is a section: what is wrong with it is the config's to say
        else:
            inner[last] = value
    return found


def write_config(config: Config) -> Path:
    """Writes the config beside the folder of its run; with a secret seed in it only its owner can read it."""
    path = config.folder.with_name(config.folder.name + ".toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o644 if config.secret_seed is None else 0o600
    write_whole(path, config.toml(secret=True).encode(), mode)
    return path
