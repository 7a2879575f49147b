"""`detox-ps config`: a config with all its defaults, and the schema of all configs."""

import json
from argparse import ArgumentParser

from detox.config import Config, ConfigError, read_config


def config(argv: list[str]) -> int:
    """Prints what was asked for; returns 0. A config that cannot be run raises ConfigError."""
    line = parser()
    options, rest = line.parse_known_args(argv)
    if options.schema:
        if rest:
            raise ConfigError(f"--schema is of all configs, and takes nothing more; got {rest[0]}")
        print(schema(), end="")
        return 0
    if not rest or rest[0].startswith("-"):
        line.error("which config? detox-ps config --show CONFIG.toml [--field value ...]")
    print(read_config(rest[0], rest[1:]).toml(), end="")
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps config",
        usage="detox-ps config --show CONFIG.toml [--field value ...]\n       detox-ps config --schema",
        allow_abbrev=False,
        description="Looks at a config without running it; any field can be set behind CONFIG.toml, as in training.",
    )
    what = line.add_mutually_exclusive_group(required=True)
    what.add_argument("--show", action="store_true", help="prints the resolved config, or says why it cannot be run")
    what.add_argument("--schema", action="store_true", help="prints the JSON schema of a config, for editors")
    return line


def schema() -> str:
    """The JSON schema of a config, with each field's description."""
    facts = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    return json.dumps({**facts, "title": "DETOX: the config of a run"}, indent=2) + "\n"
