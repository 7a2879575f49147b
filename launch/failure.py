"""Errors in words, in one place: what went wrong, where in the user's code, and the exit status that follows."""

import contextlib
import os
import sys
import tempfile
import traceback
from pathlib import Path

from detox.errors import DetoxError, UserError
from detox.tasks.places import is_users, text_of

MISTAKE, FAILURE, INTERRUPTED = 2, 1, 3
"""Exit statuses: of what the user can mend; of what went wrong; of a run that a signal ended after a checkpoint."""


def status_of(error: BaseException) -> int:
    """The exit status: whether the user can mend it."""
    if isinstance(error, DetoxError):
        return MISTAKE if isinstance(error, UserError) else FAILURE
    if isinstance(error, MemoryError):
        return FAILURE
    return MISTAKE if users_line(error) else FAILURE


def in_words(error: BaseException, folder: Path | None = None) -> str:
    """What went wrong, in one sentence; the traceback of what nobody foresaw goes into a file.

    Args:
        error: any exception.
        folder: where the traceback may go; None: the folder for temporary files.
    """
    if isinstance(error, DetoxError):
        return str(error)
    line = users_line(error)
    if isinstance(error, OSError) and error.strerror and not line:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    if isinstance(error, SystemExit):
        said = f"sys.exit({'' if error.code is None else repr(error.code)}) was called"
    else:
        text = text_of(error)
        said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        line = f"{error.filename}:{error.lineno}"
    if line:
        return f"{said}, in {line}"
    kept = "" if isinstance(error, MemoryError | ImportError) else _keep_traceback(error, folder)
    return f"{said}, in {_line(*_frames(error)[-1])}{kept}" if _frames(error) else said


def users_line(error: BaseException) -> str:
    """File and line of the user's code that an error came from; empty where it came from none."""
    if isinstance(error, SyntaxError) and error.filename and is_users(error.filename):
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in _frames(error) if is_users(frame[0])]
    return _line(*frames[-1]) if frames else ""


def _frames(error: BaseException) -> list[tuple[str, int, str]]:
    """File, line and function of each call that the error passed through, the innermost last."""
    return [
        (frame.f_code.co_filename, number, frame.f_code.co_name)
        for frame, number in traceback.walk_tb(error.__traceback__)
    ]


def _line(file: str, number: int, function: str) -> str:
    return f"{file}:{number}" + ("" if function.startswith("<") else f" ({function})")


def _keep_traceback(error: BaseException, folder: Path | None) -> str:
    """Where the traceback was written, as the end of a sentence; empty where it could not be."""
    try:
        if folder is None:
            descriptor, path = tempfile.mkstemp(".txt", "detox-ps-traceback-")
        else:
            path = str(folder / "traceback.txt")
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return ""
    return f"; the traceback is in {path}"


def say(error: BaseException | str, folder: Path | None = None) -> None:
    """Prints one sentence; a terminal that is gone is no error."""
    words = error if isinstance(error, str) else in_words(error, folder)
    with contextlib.suppress(OSError, ValueError):
        print(f"detox-ps: {words}", file=sys.stderr, flush=True)
