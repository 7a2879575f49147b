"""What an earlier run left in a folder, kept aside until the run that replaces it has made its first step."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from detox.ps.checkpoints import is_checkpoint

_OF_THE_JOB = ("done", "status.json", "summary.json", "config.toml")
# `done` is the first to go aside and the last to come back: a folder that has it is whole.
_NAMES = (
    *_OF_THE_JOB, "metrics.jsonl", "ledger.jsonl", "chain.jsonl", "secret_seed", "provenance.json", "model.safetensors",
    "model.pt", "best.safetensors", "best.pt",
)  # fmt: skip


class Aside:
    """Moves the files of a run, and only these, into a folder within its own, and back.

    A kill at any moment leaves what `bring_back` can put in order: while files are moved, in either direction, the
    folder has a name of its own.

    Args:
        path: the run's folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole = path / ".previous-run"
        self._moving = path / ".previous-run.moving"

    @property
    def exists(self) -> bool:
        """Whether an earlier run, or a part of it, is aside."""
        return self._whole.is_dir() or self._moving.is_dir()

    def put(self) -> None:
        """Sets the run aside that is in the folder."""
        self.bring_back()
        files = list(_ours(self._path))
        if files:
            _move(files, self._path, self._moving)
            self._moving.rename(self._whole)

    def bring_back(self) -> None:
        """Puts the run that is aside in the place of what is there now; nothing where none is aside."""
        if self._whole.is_dir():
            for path in _ours(self._path):
                path.unlink()
            self._whole.rename(self._moving)
        if self._moving.is_dir():
            _move(reversed(list(_ours(self._moving))), self._moving, self._path)
            _remove(self._moving)

    def discard(self) -> None:
        """Removes the run that is aside."""
        if self._whole.is_dir():
            for path in reversed(list(_ours(self._whole))):
                path.unlink()
            _remove(self._whole)


def of_a_result(folder: Path) -> list[Path]:
    """The files of a run that say what it has come to; not its config, how it ended, or checkpoints."""
    return [path for name in _NAMES if name not in _OF_THE_JOB and (path := folder / name).is_file()]


def _ours(folder: Path) -> Iterator[Path]:
    """The files of a run in its folder; those that a user put there are not among them."""
    names = (*_NAMES, *(f"{name}.tmp" for name in _NAMES))  # a kill leaves a file half-written
    yield from (path for name in names if (path := folder / name).is_file())
    yield from filter(is_checkpoint, sorted((folder / "checkpoints").glob("*")))


def _move(files: Iterator[Path] | list[Path], source: Path, target: Path) -> None:
    for path in files:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)


def _remove(folder: Path) -> None:
    """Removes what is empty."""
    for path in (folder / "checkpoints", folder):
        with contextlib.suppress(OSError):
            path.rmdir()
