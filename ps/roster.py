"""Who takes part in a step, and how many of them may be Byzantine."""

from detox.assignment import Assignment, Scheme
from detox.ps.aggregation import Aggregation
from detox.ps.attendance import Attendance
from detox.ps.events import Event, EventKind
from detox.ps.ledger import Ledger
from detox.ps.quarantine import Quarantine


class Roster:
    """The workers that have come, and are not in quarantine; files are drawn for them alone, and q and f follow.

    Args:
        p: workers.
        q: Byzantine workers to tolerate, of all p.
        scheme: who computes which file.
        aggregation: tells whether the votes of those that are left are enough.
        quarantine: who is due to be left out.
        ledger: tells who has been spared before.
        attendance: tells who has come.
    """

    def __init__(
        self,
        p: int,
        q: int,
        *,
        scheme: Scheme,
        aggregation: Aggregation,
        quarantine: Quarantine,
        ledger: Ledger,
        attendance: Attendance,
    ) -> None:
        self._p = p
        self._q = q
        self._scheme = scheme
        self._aggregation = aggregation
        self._quarantine = quarantine
        self._ledger = ledger
        self._left = 0  # workers that are not out, and must be Byzantine
        self._attendance = attendance

    @property
    def workers(self) -> list[int]:
        """Workers that have come, and are not in quarantine."""
        out = self._quarantine.out.keys() | self._attendance.missing
        return [worker for worker in range(self._p) if worker not in out]

    @property
    def q(self) -> int:
        """q, less those in quarantine if that takes a proof: dissents alone may have put the honest there.

        Where more than q are Byzantine, those that are out are not all; then q falls to no less than must be left.
        """
        return min(self._q, max(self._q - self._quarantine.proven, self._left))

    def assignment(self, step: int) -> Assignment:
        """Who computes which file in a step."""
        return self._scheme.draw(step, self.workers)

    def too_few(self, votes: int) -> str:
        """Why so many votes are too few for what they have to tolerate now; empty where they are not."""
        return self._aggregation.too_few(votes, self.q)

    def judge(self, step: int) -> list[Event]:
        """Puts into quarantine who is due before `step`, as long as enough workers are left for the aggregation."""
        events = []
        self._left = self._quarantine.left(step)
        for worker in self._quarantine.due(step):
            proof = self._quarantine.proof(worker, step)
            if proof is not None and not self._ledger.counts[worker][EventKind.PROVEN]:
                events.append(proof)
            self._quarantine.leave_out(worker, step)
            self._left = self._quarantine.left(step)
            left, files = len(self.workers), len(self.assignment(step).holders)
            if left >= self._quarantine.minimum and not self.too_few(files):
                f = self._aggregation.bad_votes(files, self.q)
                detail = f"{left} workers are left in {files} groups; now q = {self.q} and f = {f}"
                events.append(Event(EventKind.QUARANTINED, step, worker, detail=detail))
            else:
                self._quarantine.spare(worker)
                self._left = self._quarantine.left(step)
                if not self._ledger.counts[worker][EventKind.SPARED]:
                    detail = f"without it only {left} workers would be left"
                    events.append(Event(EventKind.SPARED, step, worker, detail=detail))
        return events
