"""Errors in a user's code, told in one sentence with its file and line."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import NoReturn

from detox.tasks.places import is_users, text_of
from detox.tasks.task import TaskError


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """Whatever is raised within, an exit included, becomes a TaskError; a TaskError stays as it is.

    Standard output and error are those from before afterwards, or what is wrong would be told to nobody.

    Args:
        what: is under way, the subject of a sentence: "the loss".
    """
    try:
        with redirect_stdout(sys.stdout), redirect_stderr(sys.stderr), _exits_raise():
            yield
    except TaskError:
        raise
    except SystemExit as error:
        code = "" if error.code is None else repr(error.code)
        called = "os._exit" if isinstance(error, _Exit) else "sys.exit"
        raise TaskError(f"{what} called {called}({code}){_where(error)}") from error
    except Exception as error:
        said = text_of(error)
        name = type(error).__name__
        raise TaskError(f"{what} failed with {name}{': ' * bool(said)}{said}{_where(error)}") from error


class _Exit(SystemExit):
    """os._exit was called, which would end this process without a word."""


@contextmanager
def _exits_raise() -> Iterator[None]:
    """Within, os._exit raises _Exit, but for processes that are forked meanwhile."""
    process, leave = os.getpid(), os._exit

    def raise_(status: int) -> NoReturn:
        if os.getpid() != process:
            leave(status)
        raise _Exit(status)

    os._exit = raise_
    try:
        yield
    finally:
        os._exit = leave


def _where(error: BaseException) -> str:
    """Place of the innermost call that is neither ours nor an installed library's, as the end of a sentence."""
    if isinstance(error, SyntaxError) and error.filename:
        return f", in {error.filename}:{error.lineno}"
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if is_users(file):
            return f", in {file}:{line}" + ("" if function.startswith("<") else f" ({function})")
    return ""
