"""Audits: which files of a step the PS computes itself, so that no Byzantine group can count on going unseen."""

from collections.abc import Iterable
from typing import Any, Literal

from detox.assignment import Edge
from detox.assignment.seeds import stream
from detox.ps.quarantine import Quarantine
from detox.ps.spare_time import SpareTime


class Audit:
    """Some files of each step, drawn in secret; and one of a suspect, where the quarantine has any.

    Args:
        count: files drawn in a step; "auto": one where there is time for it, see SpareTime.
        seed: secret.
        quarantine: tells the suspect, and learns that it is checked.
    """

    def __init__(self, count: int | Literal["auto"], seed: int, quarantine: Quarantine) -> None:
        self._count = count
        self._spare = SpareTime()
        self._seed = seed
        self._quarantine = quarantine

    def begin(self, step: int, files: int, edges: Iterable[Edge]) -> list[int]:
        """The files to compute at the PS in `step`, which has so many files, and these edges."""
        rng = stream(self._seed, "audit", step)
        count = int(self._spare.enough) if self._count == "auto" else self._count
        drawn = rng.choice(files, min(count, files), replace=False).tolist() if count else []
        suspect = self._quarantine.suspect(step, edges)
        if suspect is None:
            return drawn
        worker, file = suspect
        self._quarantine.checked(worker, step)
        return [*dict.fromkeys([file, *drawn])]

    def learn(self, own: float, waited: float) -> None:
        """What the step took; see SpareTime.learn."""
        self._spare.learn(own, waited)

    def state(self) -> dict[str, Any]:
        """All of it between two steps, for a checkpoint."""
        return self._spare.state()

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._spare.restore(state)
