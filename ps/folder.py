"""The folder of a run: config, metrics, ledger, checkpoints, status, summary, and `done` written last."""

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

from blake3 import blake3

Status = Literal["running", "interrupted", "failed", "finished"]


class CheckpointError(RuntimeError):
    """No checkpoint of the folder can be trusted; the message says which and why."""


class RunFolder:
    """Files of one run.

    A folder with `done` is finished; one with a checkpoint and no `done` was interrupted and can be resumed.

    Args:
        path: the folder.
        checkpoints_kept: how many of the newest checkpoints are kept.
    """

    def __init__(self, path: Path, checkpoints_kept: int = 2) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.ledger = path / "ledger.jsonl"
        self._checkpoints = path / "checkpoints"
        self._kept = checkpoints_kept

    @property
    def done(self) -> bool:
        """Whether the run has finished."""
        return (self.path / "done").exists()

    def create(self, config: str) -> None:
        """Makes the folder and writes config.toml."""
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        self._write("config.toml", lambda file: file.write(config.encode()))

    def clear(self) -> None:
        """Removes what is left of an earlier run, so that nothing is resumed."""
        checkpoints = self._checkpoints.glob("step-*")
        names = ("done", "status.json", "summary.json", "metrics.jsonl", "ledger.jsonl", "secret_seed")
        for path in (self.path / names[0], *checkpoints, *(self.path / name for name in names[1:])):
            path.unlink(missing_ok=True)

    def keep_secret(self, draw: Callable[[], int]) -> int:
        """The run's secret seed: the one that the folder keeps, or else a new one, readable by its owner only."""
        path = self.path / "secret_seed"
        if not path.exists():
            self._write("secret_seed", lambda file: file.write(f"{draw()}\n".encode()), mode=0o600)
        return int(path.read_text())

    def write_status(self, status: Status, why: str = "", again: bool = True) -> None:
        """Says in status.json how the run stands, whatever mpirun returns.

        Args:
            status: one that stays "running" after the job's end was killed.
            why: of a failure or interruption.
            again: whether starting it again may help.
        """
        facts = {"status": status, "why": why, "again": again, "host": platform.node(), "pid": os.getpid()}
        facts["time"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._write("status.json", lambda file: file.write((json.dumps(facts) + "\n").encode()))

    def read_status(self) -> dict[str, Any]:
        """What write_status wrote last; empty if it never did."""
        path = self.path / "status.json"
        content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return content

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state after `step`, named by step and digest, and removes the oldest beyond those kept."""
        import torch  # here, for commands that only look into a folder wait for what they import

        temporary = self._checkpoints / "checkpoint.tmp"
        _write_through(temporary, lambda file: torch.save(state, file))
        temporary.replace(self._checkpoints / f"step-{step:08d}-{_digest(temporary)}.pt")
        _sync(self._checkpoints)
        for old in self._found()[: -self._kept]:
            old.unlink()

    def load_checkpoint(self, warn: Callable[[str], object]) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest checkpoint whose digest is right; what metrics and ledger say later goes.

        Args:
            warn: told of a checkpoint that had to be passed over.

        Raises:
            CheckpointError: there are checkpoints, but none is right.
        """
        import torch

        found = self._found()
        for path in reversed(found):
            step, digest = path.stem.removeprefix("step-").split("-")
            if _digest(path) != digest:
                warn(f"{path} has changed since it was written, and is passed over")
                continue
            state = torch.load(path, weights_only=True, map_location="cpu")
            self._keep_lines(int(step))
            return int(step), state
        if found:
            raise CheckpointError(f"no checkpoint in {self._checkpoints} is as it was written; --no-resume starts over")
        self._keep_lines(0)
        return None

    def _found(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted(self._checkpoints.glob("step-*-*.pt"))

    def _keep_lines(self, last: int) -> None:
        """Drops the lines of metrics and ledger behind step `last`; a half-written last line goes too."""
        for path in (self.metrics, self.ledger):
            kept = []
            for line in path.read_bytes().splitlines() if path.exists() else []:
                try:
                    if json.loads(line)["step"] <= last:
                        kept.append(line + b"\n")
                except ValueError:
                    break
            self._write(path.name, lambda file, kept=kept: file.writelines(kept))  # type: ignore[misc]

    def finish(self, summary: dict[str, Any]) -> None:
        """Writes summary.json, then `done`."""
        self._write("summary.json", lambda file: file.write((json.dumps(summary, indent=2) + "\n").encode()))
        self.write_status("finished")
        self._write("done", lambda file: None)

    def summary(self) -> dict[str, Any]:
        """The summary of a finished run."""
        content: dict[str, Any] = json.loads((self.path / "summary.json").read_text())
        return content

    def _write(self, name: str, content: Callable[[BinaryIO], object], mode: int = 0o644) -> None:
        """Whole or not at all: a temporary file, synced, then renamed."""
        path = self.path / name
        temporary = path.with_name(path.name + ".tmp")
        _write_through(temporary, content, mode)
        temporary.replace(path)
        _sync(self.path)


def _write_through(path: Path, content: Callable[[BinaryIO], object], mode: int = 0o644) -> None:
    """Writes a file to the disk itself."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        content(file)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Writes a folder's names to the disk itself."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    """BLAKE3 of a file, its first 16 bytes in hexadecimal."""
    return blake3().update_mmap(path).hexdigest(16)
