"""Files that a power cut leaves whole or absent, and what is read of those that it did not."""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO


def write_whole(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Writes a file whole or not at all: a temporary file, synced, then renamed.

    Args:
        path: of the file.
        content: all of it.
        mode: its permissions.

    Raises:
        OSError: it cannot be written; what was there before is left.
    """
    temporary = path.with_name(path.name + ".tmp")
    write_through(temporary, lambda file: file.write(content), mode)
    temporary.replace(path)
    sync(path.parent)


def write_through(path: Path, write: Callable[[BinaryIO], object], mode: int = 0o644) -> None:
    """Writes a file to the disk itself; one that could not be written is removed, for the disk may be full."""
    path.unlink(missing_ok=True)  # one that a kill left may have another mode
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def write_torch(path: Path, value: Any) -> None:
    """Writes what torch.save takes, whole or not at all; raises OSError where it cannot be written."""
    temporary = path.with_name(path.name + ".tmp")
    write_through(temporary, lambda file: save_torch(value, file))
    temporary.replace(path)
    sync(path.parent)


def write_safetensors(path: Path, tensors: Any, facts: dict[str, str]) -> None:
    """Writes what safetensors' save_file takes, whole or not at all; raises OSError where it cannot be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file  # here, for it imports torch

    temporary = path.with_name(path.name + ".tmp")
    write_through(temporary, lambda file: None)
    mode = temporary.stat().st_mode  # that of the other files; save_file makes its own private
    try:
        save_file(tensors, temporary, facts)
        temporary.chmod(mode)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        said = re.search(r"\(os error (\d+)\)", str(error)) if isinstance(error, SafetensorError) else None
        if said is not None:
            raise OSError(int(said[1]), os.strerror(int(said[1])), str(path)) from None
        raise
    temporary.replace(path)
    sync(path.parent)


def save_torch(value: Any, file: BinaryIO) -> None:
    """torch.save, which where writing fails raises the OSError that torch hides behind its own."""
    import torch  # here, for commands that only look into a folder wait for what they import

    failed: list[OSError] = []

    class Watched:
        def write(self, data: Any) -> int:
            try:
                return file.write(data)
            except OSError as error:
                failed.append(error)
                raise

        def flush(self) -> None:
            file.flush()

    try:
        torch.save(value, Watched())  # type: ignore[arg-type]
    except Exception:
        if failed:
            raise failed[0] from None
        raise


def sync(folder: Path) -> None:
    """Writes a folder's names to the disk itself."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no file, or none that can be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def whole_lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """The lines of a JSON-lines file, each with its object; None beside what is none, such as a line torn in two."""
    content = path.read_bytes() if path.exists() else b""
    for line in content.split(b"\n"):
        if line:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            yield line, record if isinstance(record, dict) else None


def keep_lines(path: Path, last: int, warn: Callable[[str], object]) -> None:
    """Drops the lines behind step `last`, and those that cannot be read; a torn last line goes without a word.

    Args:
        path: of a file of JSON lines, each with a `step`.
        last: the last step that counts.
        warn: told of lines that cannot be read.
    """
    kept, unreadable = [], []
    lines = list(whole_lines(path))
    for number, (line, record) in enumerate(lines, 1):
        step = None if record is None else record.get("step")
        if not isinstance(step, int):
            unreadable.append(number)
        elif step <= last:
            kept.append(line + b"\n")
    if lost := [number for number in unreadable if number < len(lines)]:
        warn(f"{path}: {len(lost)} lines cannot be read and are dropped, the first of them line {lost[0]}")
    write_whole(path, b"".join(kept))
