"""Whose source file it is, and what an error says: for all who tell errors in words, and without torch."""

import sysconfig
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_OURS = tuple(f"{mark.parent}/" for mark in _PACKAGE.glob("*/py.typed"))  # every package has the mark
_INSTALLED = tuple(sysconfig.get_path(name) + "/" for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def is_users(file: str) -> bool:
    """Whether a source file is neither ours nor an installed library's."""
    # Of compiled modules the file is that of their source, which is elsewhere.
    path = Path(file).absolute()
    return not file.startswith("<") and not str(path).startswith(_OURS + _INSTALLED) and path.is_file()


def text_of(error: BaseException) -> str:
    """What an error says, on one line; empty where it says nothing or cannot."""
    try:
        return " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    except Exception:
        return ""
