"""The folder of a run: config, metrics, ledger, checkpoints, weights, status, summary, and `done` written last."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detox.ps.aside import Aside, of_a_result
from detox.ps.checkpoints import CheckpointError as CheckpointError
from detox.ps.checkpoints import Checkpoints, step_of
from detox.ps.files import keep_lines, read_json, whole_lines, write_whole
from detox.ps.lock import Lock
from detox.ps.status import Status as Status
from detox.ps.status import StatusFile, facts_of
from detox.ps.weights import write_weights


class RunFolder:
    """Files of one run.

    A folder with `done` is finished; one with a checkpoint and no `done` was interrupted and can be resumed. Whatever
    else is in the folder is the user's, and is left alone. What cannot be written raises OSError.

    Args:
        path: the folder.
        checkpoints_kept: how many of the newest checkpoints are kept.
    """

    def __init__(self, path: Path, checkpoints_kept: int = 2) -> None:
        self.path = path.expanduser().absolute()  # a task may change the current folder
        self.metrics = self.path / "metrics.jsonl"
        self.ledger = self.path / "ledger.jsonl"
        self.chain = self.path / "chain.jsonl"
        self.secret = self.path / "secret_seed"
        self._checkpoints = Checkpoints(self.path / "checkpoints", checkpoints_kept)
        self._previous = Aside(self.path)
        self._status = StatusFile(self.path / "status.json")
        self._lock: Lock | None = None
        self._newest: dict[str, Any] = {}  # of the newest checkpoint, for the status

    @contextmanager
    def held(self, say: Callable[[str], object]) -> Iterator[None]:
        """Keeps other jobs out to the end of the block; see Lock for what it raises, and `say`."""
        self._lock = Lock(self.path, say)
        with self._lock.held():
            yield

    def _check_lock(self) -> None:
        if self._lock is not None and self._lock.lost:
            raise OSError(f"{self.path} is not this job's any more: another one took it, or it was deleted")

    @property
    def done(self) -> bool:
        """Whether the run has finished."""
        return (self.path / "done").exists()

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return bool(self._checkpoints.found())

    @property
    def has_steps(self) -> bool:
        """Whether a step was made, of which there may be no checkpoint yet."""
        return self.metrics.is_file() and self.metrics.stat().st_size > 0

    @property
    def newest_step(self) -> int:
        """The last step in metrics.jsonl, of which there may be no checkpoint yet; 0 where there is none."""
        steps = [record.get("step") for _, record in whole_lines(self.metrics) if record is not None]
        return max((step for step in steps if isinstance(step, int)), default=0)

    def create(self, config: str) -> None:
        """Makes the folder and writes config.toml; the run is under way from now on, even if it had finished."""
        self._checkpoints.folder.mkdir(parents=True, exist_ok=True)
        (self.path / "done").unlink(missing_ok=True)
        write_whole(self.path / "config.toml", config.encode())

    def start_over(self) -> None:
        """Sets aside what is left of an earlier run, until the one that replaces it has made a step."""
        self._previous.put()

    @property
    def replaces(self) -> bool:
        """Whether an earlier run is aside, for the one that is to replace it has not made a step."""
        return self._previous.exists

    def bring_back(self) -> None:
        """Puts the earlier run that is aside, if one is, in the place of what is there now."""
        self._previous.bring_back()

    def discard_previous(self) -> None:
        """The run has made a step: removes the earlier one that was aside."""
        self._previous.discard()

    def keep_secret(self, draw: Callable[[], int], known: int | None = None) -> int:
        """The run's secret seed: the one that the folder keeps, or else a new one, readable by its owner only.

        Args:
            draw: makes a new one.
            known: the seed, where the config says it.

        Raises:
            CheckpointError: the folder has checkpoints, but their seed is lost.
        """
        kept = self.read_secret()
        if kept is not None and known in (None, kept):
            return kept
        if known is None and self._checkpoints.found():
            raise CheckpointError(
                f"{self.secret} is missing or damaged, and without it the run cannot be resumed to the same bits; "
                "--no-resume starts over"
            )
        seed = draw() if known is None else known
        write_whole(self.secret, f"{seed}\n".encode(), mode=0o600)
        return seed

    def read_secret(self) -> int | None:
        """The run's secret seed, if the folder keeps one."""
        return _number(self.secret)

    def continue_from(self, shorter: "RunFolder") -> None:
        """Copies what there is of a run that this one goes on from, its newest checkpoint last; it stays as it is."""
        for path in of_a_result(shorter.path):
            mode = 0o600 if path.name == shorter.secret.name else 0o644
            write_whole(self.path / path.name, path.read_bytes(), mode)
        self._checkpoints.copy_newest(shorter._checkpoints)

    def write_status(self, status: Status, why: str = "", again: bool = True) -> None:
        """Writes into status.json how far the run is, whatever mpirun returns.

        Beside it stand the step of the newest checkpoint, and up to which one votes were beyond dispute then.

        Args:
            status: one that stays "running" after the job's end was killed.
            why: of a failure or interruption.
            again: whether starting it again may help.
        """
        self._put_status(facts_of(status, why, again))

    def end(self, status: Status, why: str, again: bool, mistake: bool = False) -> None:
        """As write_status; of a run that has not replaced an earlier one yet, the earlier comes back and keeps its own.

        What kept the new one from starting is then in `start_over`.

        Args:
            status, why, again: see write_status.
            mistake: whether the user can mend it, for the launcher's exit status.
        """
        facts = {**facts_of(status, why, again), "mistake": mistake}
        if self.replaces:
            self.bring_back()
            facts = {**self.read_status(), "start_over": facts}
        self._put_status(facts)

    def _put_status(self, facts: dict[str, Any]) -> None:
        self._check_lock()
        self._status.write({**facts, **self._newest})

    def read_status(self) -> dict[str, Any]:
        """What write_status wrote last; empty if it never did, or it cannot be read."""
        return self._status.read()

    def write_provenance(self, facts: dict[str, str]) -> None:
        """Notes what the run is made with."""
        self._check_lock()
        write_whole(self.path / "provenance.json", (json.dumps(facts, indent=2) + "\n").encode())

    def read_provenance(self) -> dict[str, str] | None:
        """What write_provenance wrote last; None where it cannot be read."""
        return read_json(self.path / "provenance.json")

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        self._check_lock()
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def amend_metrics(self, step: int, scores: dict[str, Any]) -> None:
        """Adds scores to the line of that step."""
        lines = []
        for line, record in whole_lines(self.metrics):
            ours = record is not None and record.get("step") == step
            lines.append(json.dumps({**(record or {}), **scores}).encode() if ours else line)
        write_whole(self.metrics, b"".join(line + b"\n" for line in lines))

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state after `step`, named by step and digest, and removes the oldest beyond those kept."""
        self._check_lock()
        self._checkpoints.save(step, state)
        self._know(step, state)

    def _know(self, step: int, state: dict[str, Any]) -> None:
        self._newest = {"checkpoint": step, "undisputed": state["undisputed"]} if "undisputed" in state else {}

    def save_weights(self, name: str, tensors: dict[str, Any], facts: dict[str, Any]) -> None:
        """Writes NAME.safetensors, with `facts` in its header, and NAME.pt; see detox.ps.weights."""
        self._check_lock()
        write_weights(self.path / name, tensors, {key: str(value) for key, value in facts.items()})

    def checkpoints(self) -> dict[int, Path]:
        """The files of all checkpoints by step, the oldest first."""
        return {step_of(path): path for path in self._checkpoints.found()}

    def load_checkpoint(self, warn: Callable[[str], object]) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest checkpoint that is right; None where there is none at all.

        Args:
            warn: told of what had to be passed over.

        Raises:
            CheckpointError: there are checkpoints, but none is right.
        """
        found = self._checkpoints.load(warn)
        if found is not None:
            self._know(*found)
        return found

    def rewind(self, step: int, warn: Callable[[str], object]) -> None:
        """Drops what metrics and ledger say of later steps, which are made again.

        Args:
            step: the last one that counts.
            warn: told of lines that cannot be read, and go too.
        """
        for path in (self.metrics, self.ledger, self.chain):
            keep_lines(path, step, warn)

    def finish(self, summary: dict[str, Any]) -> None:
        """Writes summary.json, then `done`."""
        self._check_lock()
        write_whole(self.path / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
        self.write_status("finished")
        write_whole(self.path / "done", b"")

    def summary(self) -> dict[str, Any]:
        """The summary of a finished run."""
        content: dict[str, Any] = json.loads((self.path / "summary.json").read_text())
        return content


def _number(path: Path) -> int | None:
    """The number in a file, from 0; None where there is none."""
    try:
        number = int(path.read_bytes())
    except (OSError, ValueError):
        return None
    return number if number >= 0 else None
