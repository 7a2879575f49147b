"""status.json: how far a run is, for whoever looks at its folder, whatever mpirun returns."""

import json
import os
import platform
import time
from pathlib import Path
from typing import Any, Literal

from detox.ps.files import read_json, write_whole

Status = Literal["running", "interrupted", "failed", "finished"]
_BYTES = 4096  # so that a status can be written over the last one where the disk is full


def facts_of(status: Status, why: str, again: bool) -> dict[str, Any]:
    """What the file says of a status.

    Args:
        status: one that stays "running" after the job's end was killed.
        why: of a failure or interruption.
        again: whether starting it again may help.
    """
    facts = {"status": status, "why": why, "again": again, "host": platform.node(), "pid": os.getpid()}
    return {**facts, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


class StatusFile:
    """The file, which can be written where the disk is full, too, once it is there.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, facts: dict[str, Any]) -> None:
        """Puts the facts in the place of what is there; raises OSError where that cannot be done."""
        content = (json.dumps(facts) + "\n").encode().ljust(_BYTES)
        try:
            write_whole(self._path, content)
        except OSError:
            if len(content) > _BYTES:  # the reserve
                facts = {**facts, "why": facts["why"][:500]}
                content = (json.dumps(facts) + "\n").encode().ljust(_BYTES)
            with self._path.open("r+b") as file:  # its blocks are there
                file.write(content)

    def read(self) -> dict[str, Any]:
        """What was written last; empty where there is nothing that can be read."""
        return read_json(self._path) or {}
