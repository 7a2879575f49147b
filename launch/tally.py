"""What the steps of a run come to: seconds, bytes, and how long no update was made; in all, and between two lines."""

from collections import Counter
from typing import Any

from detox.ps.step import StepRecord
from detox.ps.stopwatch import PARTS

NONFINITE = "hold NaN or infinity"


class Tally:
    """Of all steps of a run.

    Attributes:
        seconds: by part, see stopwatch.PARTS.
        bytes_in: into the PS.
        copies: computed of a file, on average in each step, summed.
        skipped: steps without an update.
        idle: those since the last update.
        why: the last of these made none; empty where the last step made one.
    """

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.bytes_in, self.copies, self.skipped, self.idle = 0, 0.0, 0, 0
        self.why = ""
        self._nonfinite = 0

    def count(self, record: StepRecord, nonfinite: int) -> None:
        """Adds a step.

        Args:
            record: of the step.
            nonfinite: gradients with NaN or infinity that the ledger has counted so far.
        """
        self.seconds.update(record.seconds)
        self.bytes_in += record.bytes_in
        self.copies += record.copies
        self.skipped += bool(record.skipped)
        self.idle = self.idle + 1 if record.skipped else 0
        sent = nonfinite - self._nonfinite
        self.why = record.skipped + (f"; {sent} gradients {NONFINITE}" if record.skipped and sent else "")
        self._nonfinite = nonfinite

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs beside the ledger."""
        return {
            "seconds": dict(self.seconds),
            "bytes_in": self.bytes_in,
            "copies": self.copies,
            "skipped": self.skipped,
            "idle": (self.idle, self.why),
        }

    def restore(self, state: dict[str, Any], nonfinite: int) -> None:
        """The inverse of state, with the ledger's count; see count."""
        self.seconds.update(state["seconds"])
        self.bytes_in, self.copies, self.skipped = state["bytes_in"], state["copies"], state["skipped"]
        self.idle, self.why = state["idle"]
        self._nonfinite = nonfinite


class Interval:
    """Means of the steps between two lines on the terminal.

    Args:
        outcomes: votes counted before.

    Attributes:
        steps: how many they are.
        skipped: why those made no update that did not.
    """

    def __init__(self, outcomes: Counter[str]) -> None:
        self.restart(outcomes)

    def restart(self, outcomes: Counter[str]) -> None:
        """Begins anew."""
        self._before = outcomes.copy()
        self.steps = 0
        self.skipped: list[str] = []
        self._seconds: Counter[str] = Counter()
        self._bytes_in = 0

    def count(self, record: StepRecord) -> None:
        """Adds a step."""
        self.steps += 1
        self._seconds.update(record.seconds)
        self._bytes_in += record.bytes_in
        if record.skipped:
            self.skipped.append(record.skipped)

    def read(self, outcomes: Counter[str]) -> tuple[dict[str, float], float, Counter[str]]:
        """Mean seconds by part, mean bytes per step, and the votes counted since."""
        seconds = {name: self._seconds[name] / self.steps for name in PARTS}
        return seconds, self._bytes_in / self.steps, outcomes - self._before
