"""Compiles a kernel, once for each kind of processor: what it gave is kept on disk where that can be done (numba)."""

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

SOURCES = ("compiled", "gram", "linear", "networks", "order", "vectors")
"""Modules that a kernel may be made of; numba itself looks at the kernel's own only."""


def compiled(function: Callable[..., Any]) -> Any:
    """The function as a kernel that runs without Python's lock."""
    kernel = njit(nogil=True)(function)
    with contextlib.suppress(RuntimeError):  # no folder can be written
        kernel._cache = _Cache(function)
    return kernel


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's cache on disk, which here never stops a step: what cannot be read is compiled.

    Each kernel has files of its own for each signature, n and processor. In numba's own index two processes that add
    to it at once, on hosts that share a disk, can each be given what the other compiled.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(Exception):
            super().save_overload(sig, data)


class _Files:
    """An index and its data for each key, which holds the signature, the processor, and what a closure knows."""

    def __init__(self, folder: str, name: str) -> None:
        self._folder, self._name = folder, name

    def load(self, key: Any) -> Any:
        return self._of(key).load(key)

    def save(self, key: Any, data: Any) -> None:
        self._of(key).save(key, data)

    def _of(self, key: Any) -> Any:
        return IndexDataCacheFile(self._folder, f"{self._name}.{_digest(repr(key).encode())}", STAMP)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


STAMP = _digest(b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in SOURCES))
"""Of the sources: what was compiled from others is compiled anew."""
