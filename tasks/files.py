"""Readers of the files that image data sets come in: IDX, and CIFAR's two forms."""

import gzip
import io
import math
import pickle  # noqa: TID251 - CIFAR's own files; read by RestrictedUnpickler only
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct  # type: ignore[attr-defined]

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
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"{path}: {error}") from None
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes((0, 0, 8, dimensions)):
        raise TaskError(f"{path} is not an IDX file of bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise TaskError(f"{path} holds {len(content) - start} bytes of data, its header says {math.prod(shape)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def read_cifar_batch(path: Path, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) uint8 and labels (n,) of a CIFAR batch in Python's form.

    Args:
        path: the file.
        label: "labels" (CIFAR-10) or "fine_labels" (CIFAR-100).

    Raises:
        TaskError: the file is not what it should be, or asks for anything but arrays, lists and numbers.
    """
    try:
        batch = RestrictedUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        images = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
        labels = np.asarray(batch[label.encode()], np.uint8)
    except TaskError as error:
        raise TaskError(f"{path}: {error}") from None
    except Exception as error:  # a broken file can break the reader in any way
        raise TaskError(f"{path} is not a CIFAR batch: {error}") from None
    return _checked(path, images, labels)


def read_cifar_binary(path: Path, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) uint8 and labels (n,) of a CIFAR batch in binary form.

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
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32).copy()
    return _checked(path, images, records[:, label_bytes - 1].copy())


def _checked(path: Path, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if labels.shape != (len(images),):
        raise TaskError(f"{path} has {len(images)} images and labels of shape {labels.shape}")
    return images, labels


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into the old protocol."""
    if encoding != "latin1":
        raise TaskError(f"it holds text in {encoding}")
    return text.encode("latin1")


class RestrictedUnpickler(pickle.Unpickler):
    """Builds plain Python values and numpy arrays, and nothing else: a file cannot run code."""

    _ALLOWED = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Only what an array of numbers needs."""
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise TaskError(f"it asks for {module}.{name}, which no CIFAR batch needs") from None
