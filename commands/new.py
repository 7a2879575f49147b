"""`detox-ps new`: a task of one's own to start from."""

import keyword
import re
import sys
from argparse import ArgumentParser
from importlib.metadata import packages_distributions
from importlib.resources import files
from pathlib import Path

from detox.commands.configs import schema
from detox.config import ConfigError

_SCHEMA = "detox.schema.json"


def new(argv: list[str]) -> int:
    """Writes the files; returns 0."""
    options = parser().parse_args(argv)
    written = write_task(options.name, Path(options.folder))
    print(f"{', '.join(map(str, written))}: detox-ps launch -n 3 {options.name}.toml in that folder trains it")
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps new",
        allow_abbrev=False,
        description="Writes a task that runs, to be changed: NAME.py, NAME.toml, and the schema of the config for "
        "editors. What exists is never overwritten.",
    )
    line.add_argument("kind", choices=["task"], help="what to write")
    line.add_argument("name", metavar="NAME", help="of its module, such as my_task")
    line.add_argument("--folder", default=".", help="where; unset: the current one")
    return line


def write_task(name: str, folder: Path) -> list[Path]:
    """Writes NAME.py and NAME.toml into the folder, which is made, and the schema where there is none yet.

    Returns:
        The files.

    Raises:
        ConfigError: the name can be no module's of one's own, or a file of that name exists.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} is no name for a module: small letters, digits and _, and no word of Python's, such as my_task"
        )
    if name in sys.stdlib_module_names or name in packages_distributions():
        raise ConfigError(f"{name} is also a module of Python's or of an installed package: take another name")
    files_ = {folder / f"{name}{ending}": _template(ending, name) for ending in (".py", ".toml")}
    if there := [path for path in files_ if path.exists()]:
        raise ConfigError(f"{there[0]} exists, and is left as it is: take another name, or --folder")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _SCHEMA).exists():
        files_[folder / _SCHEMA] = schema()
    for path, text in files_.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return list(files_)


def _template(ending: str, name: str) -> str:
    text = (files("detox.commands") / f"template{ending}").read_text(encoding="utf-8")
    kind = "".join(part.title() for part in name.split("_")).removesuffix("Task") + "Task"
    return text.replace("my_task", name).replace("MyTask", kind)
