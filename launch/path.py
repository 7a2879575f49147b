"""Python's path without the current folder. Imports nothing that is not loaded already, or it would be found there."""

import os


def leave_current_folder_out(path: list[str]) -> None:
    """Takes the current folder out of `path`, or its json.py, say, would be imported in place of Python's.

    A task is looked for there all the same, last; see detox.tasks.create.
    """
    try:
        here = os.path.realpath(os.getcwd())  # noqa: PTH109
    except OSError:  # it has been deleted
        here = ""
    if here != os.path.dirname(os.path.realpath(os.__file__)) and not here.endswith("site-packages"):  # noqa: PTH120
        path[:] = [entry for entry in path if entry and os.path.realpath(entry) != here]
