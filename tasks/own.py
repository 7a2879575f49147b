"""What a user names as my_module:name, found in the current folder or in Python's path."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from detox.tasks.task import TaskError
from detox.tasks.users import users_code


def own(what: str, name: str) -> Any:
    """The attribute that `name`, "my_module:attribute", stands for.

    Args:
        what: it is for, the start of each error: "task my_module:MyTask".
        name: module and attribute.

    Raises:
        TaskError: it is written otherwise, cannot be imported, or is not there.
    """
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), attribute]):
        raise TaskError(f"{what}: write it as my_module:name")
    found = _import(what, module)
    try:
        return getattr(found, attribute)
    except AttributeError:
        mine = Path(Path.cwd(), *module.split(".")).with_suffix(".py")
        if mine.exists() and Path(getattr(found, "__file__", None) or "").resolve() != mine.resolve():
            raise TaskError(
                f"{what}: {module} is also a module of Python's or of an installed package, which comes first: "
                f"give {mine} another name"
            ) from None
        raise TaskError(f"{what}: the module {module} has no {attribute}") from None


def _import(what: str, module: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, or its json.py would be every library's
    try:
        with users_code(f"{what}: importing {module}"):
            return importlib.import_module(module)
    except TaskError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise TaskError(
                f"{what}: {error.__cause__}; modules are looked for in the current folder and in Python's path"
            ) from error
        raise
