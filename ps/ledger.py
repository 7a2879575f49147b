"""The ledger: what the PS has seen each worker do."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from detox.ps.events import Event, EventKind, Trait, kinds


class Ledger:
    """Counts per worker, and a line in a file for each event that is not plain agreement.

    The vote says one thing of each worker per step and file that it holds; EventKind says what each kind means.

    Args:
        path: the file, one JSON object per line; it is appended to.
        ranks: rank of each worker.
        hosts: host of each rank.
    """

    # Lines of one kind from one rank in one step; more are only counted, so that a flood does not fill the disk.
    LINES = 4
    STEPS = 32  # for which lines are counted; more than messages can be late

    def __init__(self, path: Path, ranks: list[int], hosts: dict[int, str]) -> None:
        self.counts: list[Counter[str]] = [Counter() for _ in ranks]
        self.unattributed: Counter[int] = Counter()
        self._disputed: dict[int, int] = {}  # by worker, the first step in which it dissented
        self._ranks = ranks
        self._hosts = hosts
        self._file: TextIO = path.open("a", buffering=1)
        self._lines: dict[int, Counter[tuple[int, str]]] = {}

    def record(self, event: Event) -> None:
        """Counts an event, and writes it down unless it is agreement; of a flood, only the first lines."""
        kind, worker = event.kind, event.worker
        if kind.has(Trait.UNWRITTEN):
            return
        if worker is None:
            assert event.rank is not None
            rank = event.rank
            self.unattributed[rank] += not kind.has(Trait.NOTE)
        else:
            rank = self._ranks[worker]
            if not kind.has(Trait.NOTE):
                self.counts[worker][kind.value] += 1
            if kind == EventKind.DISSENTED:
                self._disputed[worker] = min(event.step, self._disputed.get(worker, event.step))
        if kind != EventKind.AGREED and not self._floods(event.step, rank, kind):
            self._write(event, rank)

    def _floods(self, step: int, rank: int, kind: EventKind) -> bool:
        lines = self._lines.setdefault(step, Counter())
        lines[rank, kind.value] += 1
        for old in [s for s in self._lines if s < max(self._lines) - self.STEPS]:
            del self._lines[old]
        return kind.has(Trait.FLOOD) and lines[rank, kind.value] > self.LINES

    def _write(self, event: Event, rank: int) -> None:
        line: dict[str, Any] = {"step": event.step, "kind": event.kind.value, "worker": event.worker, "rank": rank}
        line["host"] = self._hosts.get(rank, "")
        if event.file is not None:
            line["file"] = event.file
        if event.detail:
            line["detail"] = event.detail
        if event.others:
            line["others"] = list(event.others)
        if event.diagnosis is not None:
            line["diagnosis"] = asdict(event.diagnosis)
        self._file.write(json.dumps(line) + "\n")

    @property
    def nonfinite(self) -> int:
        """Gradients with NaN or infinity that have come so far."""
        return sum(counts[EventKind.NONFINITE.value] for counts in self.counts)

    def broken_promises(self, worker: int) -> int:
        """How often the worker did not deliver what it had claimed."""
        return sum(self.counts[worker][kind] for kind in kinds(Trait.BROKEN_PROMISE))

    def dissents(self) -> dict[int, int]:
        """Worker -> how often it dissented, once per step and file; without those that never did, the most first."""
        found = {w: c["dissented"] for w, c in enumerate(self.counts) if c["dissented"]}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def undisputed(self, closed: int) -> int:
        """Up to which step nobody has contradicted a vote, but workers that are proven Byzantine.

        Args:
            closed: the newest step whose claims are all in.
        """
        proven = {w for w, counts in enumerate(self.counts) if any(counts[kind] for kind in kinds(Trait.PROOF))}
        return min([closed, *(step - 1 for worker, step in self._disputed.items() if worker not in proven)])

    @property
    def host_of(self) -> list[str]:
        """Host of each worker."""
        return [self._hosts.get(rank, "") for rank in self._ranks]

    def state(self) -> dict[str, Any]:
        """The counts, for a checkpoint."""
        return {
            "counts": [dict(c) for c in self.counts],
            "unattributed": dict(self.unattributed),
            "disputed": dict(self._disputed),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self.counts = [Counter(c) for c in state["counts"]]
        self.unattributed = Counter(state["unattributed"])
        self._disputed = dict(state["disputed"])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
