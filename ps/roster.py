"""Who takes part in a step, and how many of them may be Byzantine."""

from detox.assignment import Assignment, Scheme
from detox.errors.words import counted
from detox.ps.aggregation import Aggregation
from detox.ps.attendance import Attendance
from detox.ps.events import Event, EventKind
from detox.ps.ledger import Ledger
from detox.ps.quarantine import Quarantine


class Roster:
    """The workers that are here, and not in quarantine; files are drawn for them alone, and q and f follow.

    Who has been away for too long is left out as long as the others' votes are enough, the longest away first; for the
    rest of them files are drawn as before, for a group with a majority of its holders still has a vote.

    Args:
        p: workers.
        q: Byzantine workers to tolerate, of all p.
        scheme: who computes which file.
        aggregation: tells whether the votes of those that are left are enough.
        quarantine: who is due to be left out.
        ledger: tells who has been spared before.
        attendance: tells who has come, and who is away.
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
        self._missing: frozenset[int] = frozenset()  # workers that have never come
        self._away: frozenset[int] = frozenset()  # of the workers that are away, those that are left out

    @property
    def workers(self) -> list[int]:
        """Workers that files are drawn for."""
        out = self._quarantine.out.keys() | self._missing | self._away
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

    def follow(self, step: int) -> list[Event]:
        """Has files drawn for those who are here before `step`; tells who has come or gone."""
        events = [*self._attendance.news(step)]
        self._missing = frozenset(self._attendance.missing)
        before, away = self._away, self._attendance.away
        left_out = [worker for worker in away if worker not in self._quarantine.out]
        self._away = frozenset(left_out)
        while left_out and self.too_few(len(self.assignment(step).holders)):
            left_out.pop()
            self._away = frozenset(left_out)
        gone = sorted(self._away - before)
        events += [Event(EventKind.LEFT_OUT, step, worker, detail=away[worker]) for worker in gone]
        return events

    def strength(self, step: int) -> str:
        """How many take part, and what that tolerates, in words."""
        assignment = self.assignment(step)
        f = self._aggregation.bad_votes(len(assignment.holders), self.q)
        return f"{counted(len(self.workers), 'worker')} {_places(assignment)}, q = {self.q} and f = {f}"

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
            left, assignment = len(self.workers), self.assignment(step)
            files = len(assignment.holders)
            if left >= self._quarantine.minimum and not self.too_few(files):
                f = self._aggregation.bad_votes(files, self.q)
                detail = f"{left} workers are left {_places(assignment)}; now q = {self.q} and f = {f}"
                events.append(Event(EventKind.QUARANTINED, step, worker, detail=detail))
            else:
                self._quarantine.spare(worker)
                self._left = self._quarantine.left(step)
                if not self._ledger.counts[worker][EventKind.SPARED]:
                    detail = f"without it only {left} workers would be left"
                    events.append(Event(EventKind.SPARED, step, worker, detail=detail))
        return events


def _places(assignment: Assignment) -> str:
    """In how many groups workers are, or with how many files, where they have several."""
    edges, files = [worker for worker, _ in assignment.edges], len(assignment.holders)
    return f"in {counted(files, 'group')}" if len(edges) == len(set(edges)) else f"with {counted(files, 'file')}"
