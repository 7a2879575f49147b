"""`detox-ps completion`: what makes a shell complete commands, options, and fields of the config."""

import argparse
from argparse import ArgumentParser
from typing import Any

import shtab

from detox.config import Config
from detox.launch.commands import COMMANDS

_WITH_FIELDS = ("launch", "train", "serve", "doctor", "config")


def completion(argv: list[str]) -> int:
    """Prints the shell's script; returns 0."""
    print(shtab.complete(command_line(), parser().parse_args(argv).shell))
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps completion",
        allow_abbrev=False,
        description="Prints a script that makes the shell complete detox-ps; see docs/terminal.md for where it goes.",
    )
    line.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    return line


def command_line() -> ArgumentParser:
    """All of it: the commands, each with its options, and with the config's fields where it takes them."""
    whole = ArgumentParser("detox-ps", description="an MPI parameter server that survives Byzantine workers")
    commands = whole.add_subparsers()
    for name, known in COMMANDS.items():
        if known.hidden:
            continue
        parents = [known.parser(), *([_fields()] if name in _WITH_FIELDS else [])]
        if name in ("launch", "serve"):  # what they do not know themselves they pass on to train
            parents.insert(1, COMMANDS["train"].parser())
        command = commands.add_parser(
            name, help=known.does, parents=parents, add_help=False, conflict_handler="resolve"
        )
        for action in command._actions:  # argparse has no other way to them
            if (what := _PATHS.get(str(action.metavar))) is not None:
                action.complete = what  # type: ignore[attr-defined]
    return whole


_PATHS = {
    "RUN": shtab.DIRECTORY,
    "FOLDER": shtab.DIRECTORY,
    "FILE": shtab.FILE,
    "CONFIG.toml": shtab.FILE,
    "GRID.toml": shtab.FILE,
}


def _fields() -> ArgumentParser:
    """Every field of a config as an option, with its values where they can be counted."""
    line = ArgumentParser(add_help=False)
    line.add_argument("config", nargs="?", metavar="CONFIG.toml")
    schema = Config.model_json_schema()
    for name, field in schema["properties"].items():
        if "$ref" in field:
            for inner, described in schema["$defs"][field["$ref"].split("/")[-1]]["properties"].items():
                _add(line, f"{name}.{inner}", described)
        else:
            _add(line, name, field)
    return line


def _add(line: ArgumentParser, name: str, field: dict[str, Any]) -> None:
    option, words = name.replace("_", "-"), " ".join(field["description"].split()).replace("%", "%%")
    if field.get("type") == "boolean":
        line.add_argument(f"--{option}", action=argparse.BooleanOptionalAction, help=words)
    else:
        values = field.get("enum") or field.get("items", {}).get("enum")
        line.add_argument(f"--{option}", choices=values, help=words)
