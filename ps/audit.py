"""Audits: which files of a step the PS computes itself, so that no Byzantine group can count on going unseen."""

from collections.abc import Iterable

from detox.assignment import Edge
from detox.assignment.seeds import stream
from detox.ps.quarantine import Quarantine


class Audit:
    """Some files of each step, drawn in secret; and one of a suspect, where the quarantine has any.

    Args:
        count: files drawn in a step.
        seed: secret.
        quarantine: tells the suspect, and learns that it is checked.
    """

    def __init__(self, count: int, seed: int, quarantine: Quarantine) -> None:
        self._count = count
        self._seed = seed
        self._quarantine = quarantine

    def begin(self, step: int, files: int, edges: Iterable[Edge]) -> list[int]:
        """The files to compute at the PS in `step`, which has so many files, and these edges."""
        rng = stream(self._seed, "audit", step)
        drawn = rng.choice(files, min(self._count, files), replace=False).tolist() if self._count else []
        suspect = self._quarantine.suspect(step, edges)
        if suspect is None:
            return drawn
        worker, file = suspect
        self._quarantine.checked(worker, step)
        return [*dict.fromkeys([file, *drawn])]
