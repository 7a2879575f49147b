"""Readers of the files that image data sets come in: IDX, and CIFAR's two forms."""

import gzip
import math
import pickle  # noqa: TID251 - CIFAR's own files; read by CifarUnpickler only
import struct
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from detox.tasks.task import TaskError


def read_idx(folder: Path, name: str, dimensions: int) -> np.ndarray:
    """The uint8 array of an IDX file, plain or gzipped.

    Args:
        folder: where the file is.
        name: of the file, without .gz.
        dimensions: that it has to have.

    Raises:
        TaskError: there is no such file, or it is no IDX file of bytes with these dimensions.
    """
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.exists()), None)
    if path is None:
        raise TaskError(f"{folder} has no {name} or {name}.gz")
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"{path}: {error}") from None
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes((0, 0, 8, dimensions)):
        raise TaskError(f"{path} is not an IDX file of bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    size, needed = len(content) - start, math.prod(shape)
    if size != needed:
        raise TaskError(f"{path} holds {size} bytes of data, its header says {needed}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def read_cifar_batch(path: Path, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) uint8 and labels (n,) uint8 of a CIFAR batch in Python's form.

    Args:
        path: the file.
        label: "labels" (CIFAR-10) or "fine_labels" (CIFAR-100).

    Raises:
        TaskError: the file is not what it should be, or asks for anything but an array, lists and numbers.
    """
    try:
        with path.open("rb") as file:
            batch = CifarUnpickler(file, encoding="bytes").load()
        images = batch[b"data"].pixels.reshape(-1, 3, 32, 32)
        labels = np.array(batch[label.encode()], np.uint8)
    except Exception as error:  # a broken file can break the reader in any way
        raise TaskError(f"{path} is not a CIFAR batch: {type(error).__name__}: {error}") from None
    if labels.shape != (len(images),):
        raise TaskError(f"{path} has {len(images)} images and labels of shape {labels.shape}")
    return images, labels


def read_cifar_binary(path: Path, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) uint8 and labels (n,) uint8 of a CIFAR batch in binary form.

    Args:
        path: the file.
        label_bytes: before each image; 1 (CIFAR-10), or 2 of which the last counts (CIFAR-100, fine labels).

    Raises:
        TaskError: the file is not a whole number of records.
    """
    content = np.fromfile(path, np.uint8)
    record = label_bytes + 3 * 32 * 32
    if not len(content) or len(content) % record:
        raise TaskError(f"{path} holds {len(content)} bytes, not a multiple of {record}")
    records = content.reshape(-1, record)
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1].copy()


class _Dtype:
    """What a batch gets for numpy.dtype: it keeps the name, and the byte order has no meaning for bytes."""

    def __init__(self, name: bytes, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None: ...


class _Array:
    """What a batch gets for numpy.ndarray; `pixels` is the array of bytes that it describes."""

    pixels: np.ndarray

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes]) -> None:
        _, shape, dtype, column_major, content = state
        if dtype.name not in (b"u1", b"uint8"):
            raise ValueError(f"an array of {dtype.name!r} where bytes belong")
        self.pixels = np.frombuffer(content, np.uint8).reshape(shape, order="F" if column_major else "C")


class CifarUnpickler(pickle.Unpickler):
    """Builds lists, dicts, numbers and one array of bytes.

    Nothing of numpy is within a file's reach, and no name that it asks for is imported: it cannot run code.
    """

    _KNOWN: ClassVar[dict[tuple[str, str], type]] = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
    }

    def find_class(self, module: str, name: str) -> type:
        """The stand-in for a name of numpy's.

        Raises:
            pickle.UnpicklingError: any other name.
        """
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR batch needs")
        return self._KNOWN[module, name]
