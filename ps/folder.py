"""The folder of a run: config, metrics, ledger, checkpoints, summary, and `done` written last."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch


class RunFolder:
    """Files of one run.

    A folder with `done` is finished; one with a checkpoint and no `done` was interrupted and can be resumed.
    """

    CHECKPOINTS_KEPT = 2

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.ledger = path / "ledger.jsonl"
        self._checkpoints = path / "checkpoints"

    @property
    def done(self) -> bool:
        """Whether the run has finished."""
        return (self.path / "done").exists()

    def create(self, config: str) -> None:
        """Makes the folder and writes config.toml."""
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        self._write("config.toml", lambda file: file.write(config.encode()))

    def keep_secret(self, draw: Callable[[], int]) -> int:
        """The run's secret seed: the one that the folder keeps, or else a new one, readable by its owner only."""
        path = self.path / "secret_seed"
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{draw()}\n")
        return int(path.read_text())

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state after `step` and removes the oldest beyond those kept."""
        self._write(f"checkpoints/step-{step:08d}.pt", lambda file: torch.save(state, file))
        for old in sorted(self._checkpoints.glob("step-*.pt"))[: -self.CHECKPOINTS_KEPT]:
            old.unlink()

    def load_checkpoint(self) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest checkpoint; lines of the ledger and metrics behind it are dropped."""
        found = sorted(self._checkpoints.glob("step-*.pt"))
        if not found:
            for lines in (self.metrics, self.ledger):
                lines.unlink(missing_ok=True)
            return None
        step = int(found[-1].stem.removeprefix("step-"))
        state = torch.load(found[-1], weights_only=True, map_location="cpu")
        for lines in (self.metrics, self.ledger):
            _truncate(lines, step)
        return step, state

    def finish(self, summary: dict[str, Any]) -> None:
        """Writes summary.json, then `done`."""
        self._write("summary.json", lambda file: file.write((json.dumps(summary, indent=2) + "\n").encode()))
        self._write("done", lambda file: None)

    def summary(self) -> dict[str, Any]:
        """The summary of a finished run."""
        content: dict[str, Any] = json.loads((self.path / "summary.json").read_text())
        return content

    def _write(self, name: str, content: Callable[[BinaryIO], object]) -> None:
        """Whole or not at all: a temporary file, synced, then renamed."""
        path = self.path / name
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("wb") as file:
            content(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def _truncate(path: Path, step: int) -> None:
    """Keeps the lines of a JSON-lines file up to `step`; a half-written last line goes too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            break
    path.write_text("".join(kept))
