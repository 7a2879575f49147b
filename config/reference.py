"""The reference of the config, docs/config.md: `python -m detox.config.reference > docs/config.md`."""

import json
from typing import Any

from detox.config.derived import Config

_HEAD = """# Config

A run is a TOML file; `detox-ps train CONFIG.toml --field value` sets any field on top, those of a section as
`--section.field value`. Unknown fields are errors. The resolved config is written to the run's folder. An unset
field is left out of the TOML file (on the command line: `None`). The file is UTF-8.

Numbers are finite, and what is a whole number here takes no 3.0 and no true. Whole numbers are at most 2^32 - 1, seeds
2^64 - 1 (`secret_seed`: 2^128 - 1), seconds 1e9.

<!-- Made by `python -m detox.config.reference > docs/config.md`; a test compares. -->
"""
_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
_SAID_ONCE = 1e9  # upper bounds from here on are those of the text above


def reference() -> str:
    """Every field with type, default and meaning, as Markdown."""
    schema = Config.model_json_schema()
    sections = {name: field["$ref"].split("/")[-1] for name, field in schema["properties"].items() if "$ref" in field}
    top = {name: field for name, field in schema["properties"].items() if name not in sections}
    parts = [_HEAD, "## Top level\n", _table(top)]
    for name, definition in sections.items():
        section = schema["$defs"][definition]
        parts += [f"## [{name}]\n", section["description"] + "\n", _table(section["properties"])]
    return "\n".join(parts)


def _table(fields: dict[str, dict[str, Any]]) -> str:
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = "unset" if field["default"] is None else json.dumps(field["default"])
        meaning = " ".join(field["description"].split())
        cells = (f"`{name}`", _type(field), f"`{default}`", meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _type(schema: dict[str, Any]) -> str:
    """A JSON schema's type in words."""
    if "anyOf" in schema:
        return " or ".join("unset" if option == {"type": "null"} else _type(option) for option in schema["anyOf"])
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return " | ".join(schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if schema["type"] == "object":
        return f"table of {_type(schema['additionalProperties'])}"
    bounds = ", ".join(
        f"{sign} {schema[key]}" for key, sign in _BOUNDS.items() if key in schema and schema[key] < _SAID_ONCE
    )
    return f"{schema['type']} {bounds}".strip()


if __name__ == "__main__":
    print(reference(), end="")
