"""Digests of what a task is made of, its source and its data, by which a run knows that they have changed."""

import ast
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from torch import nn

from detox.tasks.task import Task

WHOLE = 2**30  # bytes; of what is longer, rows in even distances are read
ROWS = 4096
_DEPTH = 12
_SCALARS = (bool, int, float, complex, str, type(None))
_NO_DATA = (nn.Module, torch.Generator, np.random.Generator, np.random.RandomState, type)


def data_digest(task: Task) -> str:
    """BLAKE3, in hexadecimal, of the arrays, tensors, bytes and lists that the task holds once it is made.

    A task that reads its data later, or of which something else changes from start to start, says better itself what
    its data are, in an attribute or method `data_digest`. Of an array of more than 1 GiB, 4,096 rows count.
    """
    if inspect.getattr_static(task, "data_digest", None) is not None:  # a __getattr__ of the task's can do anything
        own: Any = task.data_digest  # type: ignore[attr-defined]
        return str(own() if callable(own) else own)
    walk = _Walk()
    walk.attributes(vars(task), _DEPTH)
    for holder in (*type(task).__mro__, sys.modules.get(type(task).__module__)):
        if getattr(holder, "__module__", getattr(holder, "__name__", "")).partition(".")[0] != "detox":
            arrays = {k: v for k, v in vars(holder).items() if isinstance(v, np.ndarray | torch.Tensor)}
            walk.attributes(arrays, _DEPTH)
    return walk.hasher.hexdigest(8)


class _Walk:
    """Feeds a hasher with data, each piece behind its kind and size."""

    def __init__(self) -> None:
        self.hasher = blake3(max_threads=blake3.AUTO)
        self._seen: dict[int, Any] = {}  # the objects too, or an id could come again

    def attributes(self, of: dict[str, Any], depth: int) -> None:
        """What an object holds; plain numbers and words are its source's, or differ from start to start."""
        for name, value in sorted(of.items()):
            if not isinstance(value, (*_SCALARS, *_NO_DATA)):
                self._note("name", name)
                self._value(value, depth)

    def _value(self, value: Any, depth: int) -> None:
        if isinstance(value, _NO_DATA) or id(value) in self._seen or not depth:
            return None
        if isinstance(value, _SCALARS):
            return self._note("scalar", repr(value))
        self._seen[id(value)] = value
        if isinstance(value, torch.Tensor):
            if value.device.type != "meta":
                dense = value.detach().to_dense() if value.layout != torch.strided else value.detach()
                self._note("tensor", f"{value.dtype} {tuple(value.shape)}")
                self._array(dense.cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), value.shape[:1].numel())
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            self._note("array", f"{value.dtype.str} {value.shape}")
            self._array(value, len(value) if value.ndim else 1)
        elif isinstance(value, bytes | bytearray):
            self._note("bytes", str(len(value)))
            self.hasher.update(bytes(value))
        elif isinstance(value, np.ndarray | list | tuple):
            items = list(value.flat) if isinstance(value, np.ndarray) else value
            self._note("list", str(len(items)))
            if all(isinstance(item, _SCALARS) for item in items):
                return self._note("scalars", repr(list(items)))
            for item in items:
                self._value(item, depth - 1)
        elif isinstance(value, dict):
            for name, item in value.items():
                self._note("key", repr(name) if isinstance(name, _SCALARS) else type(name).__name__)
                self._value(item, depth - 1)
        elif hasattr(value, "__dict__") and not callable(value):
            self.attributes(vars(value), depth - 1)
        return None

    def _note(self, kind: str, text: str) -> None:
        self.hasher.update(f"{kind} {len(text)} {text}\n".encode(errors="surrogatepass"))

    def _array(self, array: np.ndarray, rows: int) -> None:
        if array.nbytes > WHOLE:
            pieces = array.reshape(rows, -1) if array.flags.c_contiguous and rows else array
            array = pieces[np.unique(np.linspace(0, len(pieces) - 1, ROWS).astype(np.int64))]
        self.hasher.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def source_digests(name: str) -> dict[str, str]:
    """Module -> BLAKE3 of its file, for a user's module and all that it imports, except what is installed.

    Args:
        name: of a task, "my_module:MyTask"; what comes with the package has none.
    """
    found: dict[str, str] = {}
    todo = [name.partition(":")[0]] if ":" in name else []
    while todo:
        module = todo.pop()
        path = None if module in found else _file_of(module)
        if path is not None:
            text = path.read_bytes()
            found[module] = blake3(text).hexdigest(8)
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            todo += _imported(text, package)
    return dict(sorted(found.items()))


def _file_of(module: str) -> Path | None:
    """The source of a module that is the user's own; nothing is imported."""
    top, *parts = module.split(".")
    if top in sys.stdlib_module_names or top == "detox":
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    path, folders = Path(spec.origin or ""), list(spec.submodule_search_locations or ())
    for part in parts:
        places = [Path(folder) / part for folder in folders]
        files = [file for place in places for file in (place / "__init__.py", place.with_suffix(".py"))]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            return None
        path, folders = found, [str(found.parent)] if found.name == "__init__.py" else []
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return None if installed or path.suffix != ".py" or not path.is_file() else path


def _imported(text: bytes, package: str) -> list[str]:
    """The modules that a source may import, anywhere in it, with the packages that they are in."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return [".".join(name.split(".")[: i + 1]) for name in names for i in range(name.count(".") + 1) if name]
