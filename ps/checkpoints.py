"""The checkpoints of a run: files named by step and digest, of which the newest are kept."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blake3 import blake3

from detox.errors import JobError
from detox.ps.files import save_torch, sync, write_through, write_whole

_NAME = re.compile(r"step-(\d{8,})-([0-9a-f]{32})\.pt", re.ASCII)


class CheckpointError(JobError):
    """The run cannot be resumed from what its folder holds; the message says why."""


class Checkpoints:
    """Files `step-STEP-DIGEST.pt`; whatever has another name, or is no file, is not ours and is left alone.

    Args:
        folder: of the checkpoints.
        kept: how many of the newest are kept.
    """

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder = folder
        self._kept = kept

    def found(self) -> list[Path]:
        """Oldest first."""
        paths = self.folder.glob("step-*.pt")
        return sorted((path for path in paths if _NAME.fullmatch(path.name) and path.is_file()), key=step_of)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state after `step`, and removes the oldest beyond those kept; raises OSError if it cannot."""
        temporary = self.folder / "checkpoint.tmp"
        write_through(temporary, lambda file: save_torch(state, file))
        path = temporary.replace(self.folder / f"step-{step:08d}-{_digest(temporary)}.pt")
        sync(self.folder)
        found = self.found()
        again = [old for old in found if step_of(old) == step and old != path]
        for old in again + [old for old in found if old not in again][: -self._kept]:
            old.unlink()

    def copy_newest(self, other: "Checkpoints") -> None:
        """Copies the newest of another folder, if it has one."""
        for path in other.found()[-1:]:
            write_whole(self.folder / path.name, path.read_bytes())

    def load(self, warn: Callable[[str], object]) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest that can be read and whose digest is right; None where there is none at all.

        Args:
            warn: told of what had to be passed over.

        Raises:
            CheckpointError: there are checkpoints, but none is right.
        """
        found = self.found()
        for path in reversed(found):
            try:
                return step_of(path), read_checkpoint(path)
            except CheckpointError as error:
                warn(f"{error}; it is passed over")
        if found:
            raise CheckpointError(f"no checkpoint in {self.folder} is as it was written; --no-resume starts over")
        return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a file named as checkpoints are; raises CheckpointError where it is not as it was written."""
    import torch  # here, for commands that only look into a folder wait for what they import

    try:
        if _digest(path) != _NAME.fullmatch(path.name)[2]:  # type: ignore[index]
            raise CheckpointError(f"{path} has changed since it was written")
        state = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
    except CheckpointError:
        raise
    except Exception as error:  # damaged bytes can break the reader in any way
        why = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}: {why}") from None
    return state


def is_checkpoint(path: Path) -> bool:
    """Whether a file is named as a checkpoint, or as one that is being written."""
    return path.is_file() and (path.name == "checkpoint.tmp" or _NAME.fullmatch(path.name) is not None)


def step_of(path: Path) -> int:
    """The step after which a checkpoint was written, by its name."""
    return int(path.name.split("-")[1])


def _digest(path: Path) -> str:
    """BLAKE3 of a file, its first 16 bytes in hexadecimal."""
    return blake3().update_mmap(path).hexdigest(16)
