"""The ledger: what the PS has seen each worker do."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, TextIO


class Ledger:
    """Counts per worker, and a line in a file for all that is not plain agreement.

    Each worker with a file has one verdict a step: agreed, dissented (from a strict majority), undecided (its group
    had no majority), silent, or convicted (the PS computed the file itself and got something else). Further kinds:
    lied (a payload that is not its claim), equivocated (two claims for one file), withheld (claimed, then did not
    deliver), nonfinite, malformed, late (after the step was closed), dead (its rank is), quarantined, spared (to be
    quarantined, but too few would be left).

    Args:
        path: the file, one JSON object a line; it is appended to.
        ranks: rank of each worker.
        hosts: host of each rank.
    """

    # Lines of one kind from one rank in one step; more are only counted, so that a flood does not fill the disk.
    LINES = 4
    STEPS = 32  # for which lines are counted; more than messages can be late

    def __init__(self, path: Path, ranks: list[int], hosts: dict[int, str]) -> None:
        self.counts: list[Counter[str]] = [Counter() for _ in ranks]
        self.unattributed: Counter[int] = Counter()
        self._ranks = ranks
        self._hosts = hosts
        self._file: TextIO = path.open("a", buffering=1)
        self._lines: dict[int, Counter[tuple[int, str]]] = {}

    def note(self, kind: str, step: int, worker: int, detail: str = "") -> None:
        """Counts one event of a worker, and writes it down unless it is "agreed"."""
        self.counts[worker][kind] += 1
        if kind != "agreed":
            self._write(kind, step, self._ranks[worker], worker, detail)

    def note_rank(self, step: int, rank: int, detail: str) -> None:
        """A message that cannot be pinned on one worker of the rank that sent it."""
        self.unattributed[rank] += 1
        self._write("malformed", step, rank, None, detail)

    def _write(self, kind: str, step: int, rank: int, worker: int | None, detail: str) -> None:
        lines = self._lines.setdefault(step, Counter())
        lines[rank, kind] += 1
        for old in [s for s in self._lines if s < max(self._lines) - self.STEPS]:
            del self._lines[old]
        if kind in ("malformed", "late") and lines[rank, kind] > self.LINES:
            return
        line: dict[str, Any] = {"step": step, "kind": kind, "worker": worker, "rank": rank}
        line["host"] = self._hosts.get(rank, "")
        if detail:
            line["detail"] = detail
        self._file.write(json.dumps(line) + "\n")

    def broken_promises(self, worker: int) -> int:
        """How often the worker did not deliver what it had claimed."""
        return self.counts[worker]["withheld"] + self.counts[worker]["lied"]

    def dissents(self) -> dict[int, int]:
        """Worker -> steps in which it dissented, those that never did left out, most first."""
        found = {w: c["dissented"] for w, c in enumerate(self.counts) if c["dissented"]}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def host_of(self) -> list[str]:
        """Host of each worker."""
        return [self._hosts.get(rank, "") for rank in self._ranks]

    def state(self) -> dict[str, Any]:
        """The counts, for a checkpoint."""
        return {"counts": [dict(c) for c in self.counts], "unattributed": dict(self.unattributed)}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self.counts = [Counter(c) for c in state["counts"]]
        self.unattributed = Counter(state["unattributed"])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
