"""What a task and its model keep from call to call, beside what travels: by name, as digests that can be compared."""

import itertools
import random
import sys
from collections import deque
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from torch import nn

from detox.tasks.batches import Batches
from detox.tasks.places import is_users

_SCALARS = (type(None), bool, int, float, complex, str, bytes, np.generic)
_CONTAINERS = (list, tuple, deque, set, frozenset, dict)
_ITEMS = 256  # of a container, at either end
_BYTES = 2**12  # of a task's array; a longer one is data
_DEPTH = 4
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def state_of_model(module: nn.Module) -> dict[str, bytes]:
    """Attributes of all parts: numbers, words, arrays, generators and containers; not parameters and buffers."""
    known = _known(module)
    return {
        f"model.{path}{'.' * bool(path)}{name}": _digest(value, known, arrays=True)
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if name not in _OF_EVERY_MODULE
    }


def state_of_task(task: object, module: nn.Module) -> dict[str, bytes]:
    """As of a model; arrays are data, if they are not small. With what the classes and their modules' globals hold."""
    known, kind = _known(module), type(task)
    found: dict[str, bytes] = {}
    for owner in {kind: None} | {type(part): None for part in module.modules()}:
        for holder in (*owner.__mro__, sys.modules.get(owner.__module__)):
            file = getattr(sys.modules.get(getattr(holder, "__module__", ""), holder), "__file__", None)
            if holder is not None and file and is_users(file):
                found |= {
                    f"{holder.__name__}.{name}": _digest(value, known, depth=_DEPTH - 1)
                    for name, value in vars(holder).items()
                    if not name.startswith("__") and not isinstance(value, type)
                }
    return found | {f"{kind.__name__}.{name}": _digest(value, known) for name, value in vars(task).items()}


def _known(module: nn.Module) -> dict[int, Any]:
    return {id(item): item for item in (*module.modules(), *module.parameters(), *module.buffers())}


def _digest(value: Any, known: dict[int, Any], *, arrays: bool = False, depth: int = _DEPTH) -> bytes:
    hasher = blake3()
    try:
        for piece in _pieces(value, dict(known), arrays, depth):
            hasher.update(piece)
    except Exception:  # of objects that cannot be looked into, such as one that changes meanwhile
        return b""
    return hasher.digest(8)


def _pieces(value: Any, seen: dict[int, Any], arrays: bool, depth: int) -> Iterator[bytes]:
    if isinstance(value, _SCALARS):
        yield repr(value).encode(errors="surrogatepass")
    if isinstance(value, (*_SCALARS, type)) or id(value) in seen or not depth:
        return
    yield type(value).__name__.encode()
    seen[id(value)] = value  # the object too, or its id could come again
    if isinstance(value, torch.Tensor | np.ndarray):
        plain = type(value) in (torch.Tensor, nn.Parameter, np.ndarray)
        if arrays or (plain and value.nbytes <= _BYTES):
            yield _bytes(value)
    elif isinstance(value, nn.Module):
        for name, tensor in value.state_dict().items():
            yield name.encode() + _bytes(tensor)
    elif isinstance(value, torch.Generator):
        yield _bytes(value.get_state())
    elif isinstance(value, np.random.Generator):
        yield repr(value.bit_generator.state).encode()
    elif isinstance(value, np.random.RandomState):
        yield repr(value.get_state(legacy=False)).encode()
    elif isinstance(value, random.Random):
        yield repr(value.getstate()).encode()
    elif isinstance(value, itertools.count):
        yield repr(value).encode()
    elif isinstance(value, _CONTAINERS):
        yield str(len(value)).encode()
        for item in _ends(value.items() if isinstance(value, dict) else value):
            yield from _pieces(item, seen, arrays, depth if isinstance(value, dict) else depth - 1)
    elif isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        yield from _pieces([value.__dict__, *cells], seen, arrays, depth - 1)
    elif isinstance(value, Batches) or is_users(
        getattr(sys.modules.get(type(value).__module__), "__file__", None) or "<>"
    ):
        yield from _pieces(getattr(value, "__dict__", {}), seen, arrays, depth - 1)


def _ends(items: Any) -> list[Any]:
    if len(items) <= 2 * _ITEMS:
        return list(items)
    if isinstance(items, list | tuple | deque):
        return [*(items[i] for i in range(_ITEMS)), *(items[i] for i in range(-_ITEMS, 0))]
    return []


def _bytes(value: Any) -> bytes:
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
            return b""
        value = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    elif value.dtype.hasobject:
        return b""
    return blake3(np.ascontiguousarray(value).tobytes()).digest()
