"""One step's votes as they come in: claims are counted, gradients fetched from majorities and verified."""

from collections.abc import Set

import numpy as np

from detox.ps.assignment import Groups
from detox.ps.ledger import Ledger
from detox.ps.quarantine import OFFENCES
from detox.ps.stopwatch import Stopwatch
from detox.ps.tolerance import NearBallot, distance
from detox.ps.vote import Ballot, Outcome, Verdict
from detox.wire import DIGEST_BYTES, Codec, Header, Kind, WireError, digest_of

_HALVINGS = 10  # of fetch_deadline, at most


class Round:
    """The votes of all groups in one step (DESIGN.md, step 3); it knows nothing of MPI.

    With `direct`, gradients come without a claim and each copy is compared with those of its group, bit by bit or,
    given a tolerance, by distance; otherwise a claim is a digest, and one copy is fetched from the majority and
    checked against it.

    Args:
        step: the step.
        groups: group j votes on file j.
        direct: whether workers send gradients straight away (r = 1, or vote = "full" or "tolerance").
        tolerance: distance up to which copies agree; None: only equal bits do.
        d: entries of the gradient in a row; the rest are buffers. For the tolerance only.
        rows: (number of groups, d + b) float32; row j receives the vote of group j.
        codec: how gradients travel.
        ledger: where offences go.
        fetch_deadline: seconds until the next of a majority is asked; halved for each promise that a worker has broken.

    Attributes:
        file_of: each worker's file.
        settled: for each file, whether its vote has been accepted.
        failed: for each file, whether to wait for its vote no longer.
        noted: (kind, worker) of the offences that went into the ledger, and "cleared" where the PS's own
            computation confirmed a worker's claim.
    """

    def __init__(
        self,
        step: int,
        groups: Groups,
        *,
        direct: bool,
        tolerance: float | None = None,
        d: int = 0,
        rows: np.ndarray,
        codec: Codec,
        ledger: Ledger,
        fetch_deadline: float = 20.0,
    ) -> None:
        self.step = step
        self.clock = Stopwatch()
        self.ballots = [Ballot(group) if tolerance is None else NearBallot(group, tolerance) for group in groups]
        self.settled = [False] * len(groups)
        self.failed = [False] * len(groups)
        self.file_of = {worker: file for file, group in enumerate(groups) for worker in group}
        self._direct = direct
        self._d = d
        self._rows: np.ndarray | None = rows
        self._codec = codec
        self._ledger = ledger
        self._fetch_deadline = fetch_deadline
        self._asked: list[dict[int, float]] = [{} for _ in groups]
        self._refuted: set[int] = set()
        self._overdue: set[int] = set()
        self._nonfinite: set[int] = set()
        self._equivocated: set[int] = set()
        self._answered: set[tuple[Kind, int]] = set()
        self.noted: list[tuple[str, int]] = []
        self._copies: list[list[np.ndarray]] = [[] for _ in groups]
        self._near: list[dict[int, np.ndarray]] = [{} for _ in groups]

    def take(self, header: Header, payload: memoryview) -> bool:
        """Takes a CLAIM or a GRADIENT of this step from the worker in its header; what is wrong is noted.

        Returns:
            Whether this is the first answer to what the worker was asked for.
        """
        worker, file = header.worker, self.file_of.get(header.worker)
        if file is None or header.file != file:
            self._note("malformed", worker, f"file {header.file} is not this worker's")
            return False
        asked = header.kind == (Kind.GRADIENT if self._direct else Kind.CLAIM) or worker in self._asked[file]
        if not asked:
            self._note("malformed", worker, f"{header.kind.name} was not asked for")
            return False
        first = (header.kind, worker) not in self._answered
        self._answered.add((header.kind, worker))
        if header.kind == Kind.CLAIM:
            self._count(worker, file, bytes(payload))
        elif self._rows is None:
            self._note("late", worker, "its gradient came after the step")
        elif self._direct:
            self._compare(worker, file, payload)
        else:
            self._verify(worker, file, payload)
        return first

    def fetches(
        self, now: float, gone: Set[int] = frozenset(), absent: Set[int] = frozenset()
    ) -> list[tuple[int, int]]:
        """The (worker, file) to send FETCH to now: one of each majority, the next where one did not deliver.

        Args:
            now: seconds on a monotonic clock.
            gone: workers out of reach.
            absent: workers whose claims are not waited for.
        """
        wanted = []
        for file, ballot in enumerate(self.ballots):
            if self._direct or self.settled[file] or self.failed[file] or ballot.majority is None:
                continue
            asked, broken = self._asked[file], self._ledger.broken_promises
            for worker, since in asked.items():
                if worker in gone or now - since > self._fetch_deadline / 2 ** min(broken(worker), _HALVINGS):
                    self._overdue.add(worker)
            if any(worker not in self._refuted | self._overdue for worker in asked):
                continue
            supporters = [w for w in ballot.supporters if w not in asked and w not in gone]
            if supporters:
                worker = min(supporters, key=broken)
                asked[worker] = now
                wanted.append((worker, file))
            elif all(w in ballot.claims or w in gone | absent for w in ballot.members):
                # Who is slow for the first time has until the deadline of the step.
                self.failed[file] = all(w in self._refuted or w in gone or broken(w) for w in asked)
        return wanted

    def finished(self, gone: Set[int] = frozenset()) -> bool:
        """Whether nothing more can come of waiting; with vote = "full" every copy is waited for."""
        for file, ballot in enumerate(self.ballots):
            if self.failed[file]:
                continue
            if self._direct:
                if not all(w in ballot.claims or w in gone for w in ballot.members):
                    return False
            elif not self.settled[file] and not ballot.hopeless(gone):
                return False
        return True

    def undecided(self) -> list[int]:
        """Files of which no copy has been accepted."""
        return [file for file, settled in enumerate(self.settled) if not settled]

    def decide(self, file: int, vector: np.ndarray) -> None:
        """Settles a vote by the PS's own computation, which convicts whoever claims, or has claimed, otherwise."""
        assert self._rows is not None
        row, copies, vector = self._rows[file], self._copies[file], self._codec.quantise(vector)
        if self._direct:
            if copies:
                copies[0] = copies[0].copy()
            self.ballots[file].decide(self._candidate(vector, copies))
            copies.append(row)
        else:
            self.ballots[file].decide(digest_of(vector))
        row[:] = vector
        self.settled[file] = bool(np.isfinite(row).all())
        self.failed[file] = not self.settled[file]

    @staticmethod
    def _candidate(copy: np.ndarray, copies: list[np.ndarray]) -> int:
        """Index of the first of `copies` with the same bits; their number if there is none."""
        bits = copy.view(np.uint32)
        equal = (i for i, other in enumerate(copies) if np.array_equal(bits, other.view(np.uint32)))
        return next(equal, len(copies))

    def awaited(self) -> list[int]:
        """Workers whose gradient was asked for and has not come."""
        asked = self.file_of if self._direct else [worker for file in self._asked for worker in file]
        return [worker for worker in asked if (Kind.GRADIENT, worker) not in self._answered]

    def unheard(self) -> frozenset[int]:
        """Workers that have not claimed, or sent, a gradient."""
        return frozenset(w for ballot in self.ballots for w in ballot.members if w not in ballot.claims)

    def votes(self) -> np.ndarray:
        """Ends the collection: (m, d + b), the verified votes of the m groups that have one.

        A view of `rows`, in which the rows of groups without a vote have been closed up. Claims that come after
        this still count for the ledger.
        """
        assert self._rows is not None
        rows, self._rows = self._rows, None
        for file, asked in enumerate(self._asked):
            delivered = self.settled[file] and self.ballots[file].truth is None
            for worker in asked:
                answered = (Kind.GRADIENT, worker) in self._answered
                if not answered and (worker in self._overdue or not delivered):
                    self._note("withheld", worker, "claimed a gradient and did not deliver it")
        kept = [file for file, settled in enumerate(self.settled) if settled]
        for row, file in enumerate(kept):
            if row != file:
                rows[row] = rows[file]
        self._copies.clear()
        self._near.clear()
        return rows[: len(kept)]

    def close(self) -> list[Outcome]:
        """Writes each worker's verdict into the ledger and returns the groups' outcomes.

        A group whose majority did not deliver a gradient that can be used has no vote.
        """
        for ballot in self.ballots:
            for worker in ballot.members:
                verdict = ballot.verdict(worker)
                self._note(verdict.value, worker)
                if ballot.truth is not None and verdict == Verdict.AGREED:
                    self.noted.append(("cleared", worker))
        return [
            ballot.outcome if settled else Outcome.NONE
            for ballot, settled in zip(self.ballots, self.settled, strict=True)
        ]

    def _count(self, worker: int, file: int, claim: bytes) -> None:
        if len(claim) != DIGEST_BYTES:
            self._note("malformed", worker, f"a claim of {len(claim)} bytes, a digest has {DIGEST_BYTES}")
            return
        earlier = self.ballots[file].claims.get(worker)
        if earlier is None:
            self.ballots[file].claim(worker, claim)
        elif earlier == claim:
            self._note("malformed", worker, "claimed the same twice")
        elif worker in self._equivocated:
            self._note("malformed", worker, "claimed yet something else")
        else:
            self._equivocated.add(worker)
            self._note("equivocated", worker, "claimed something else before; the first claim counts")

    def _verify(self, worker: int, file: int, payload: memoryview) -> None:
        """Row `file` becomes the payload if its digest is the majority's."""
        assert self._rows is not None
        if self.settled[file] or file in self._nonfinite or worker in self._refuted:
            return
        row = self._rows[file]
        try:
            with self.clock.part("transfer"):
                self._codec.decode(payload, row)
            with self.clock.part("vote"):
                honest = digest_of(row) == self.ballots[file].majority
        except WireError as error:
            self._refuted.add(worker)
            self._note("malformed", worker, str(error))
            return
        if not honest:
            self._refuted.add(worker)
            self._note("lied", worker, "its gradient is not the one that it claimed")
            return
        self._settle(file, row)

    def _compare(self, worker: int, file: int, payload: memoryview) -> None:
        """Counts a whole copy as a vote for the first copy of its group with the same bits."""
        assert self._rows is not None
        ballot, copies = self.ballots[file], self._copies[file]
        if worker in ballot.claims:
            self._note("malformed", worker, "sent its gradient twice")
            return
        spare = copies or isinstance(ballot, NearBallot)
        copy = np.empty_like(self._rows[file]) if spare else self._rows[file]
        try:
            with self.clock.part("transfer"):
                self._codec.decode(payload, copy)
        except WireError as error:
            ballot.claim(worker, None)
            self._note("malformed", worker, str(error))
            return
        if isinstance(ballot, NearBallot):
            self._approximate(worker, file, ballot, copy)
            return
        with self.clock.part("vote"):
            candidate = self._candidate(copy, copies)
        if candidate == len(copies):
            copies.append(copy)
        ballot.claim(worker, candidate)
        if not self.settled[file] and not self.failed[file] and ballot.majority == candidate:
            if candidate > 0:
                copies[0] = copies[0].copy()
                self._rows[file] = copies[candidate]
            self._settle(file, self._rows[file])

    def _approximate(self, worker: int, file: int, ballot: NearBallot, copy: np.ndarray) -> None:
        """Counts a whole copy as a vote for those that it is near to; the row is the vote so far."""
        assert self._rows is not None
        near = self._near[file]
        with self.clock.part("vote"):
            apart = {other: distance(copy, theirs, self._d) for other, theirs in near.items()}
            near[worker] = copy
            ballot.compare(worker, {**apart, worker: 0.0 if np.isfinite(copy).all() else float("inf")})
        if ballot.majority is not None:
            self._rows[file] = near[ballot.majority]
            self.settled[file] = True

    def _settle(self, file: int, row: np.ndarray) -> None:
        """Accepts the vote, unless it is not finite: then its supporters are named and the group has none."""
        with self.clock.part("vote"):
            finite = bool(np.isfinite(row.min()) and np.isfinite(row.max()))
        self.settled[file], self.failed[file] = finite, not finite
        if finite:
            return
        self._nonfinite.add(file)
        for worker in self.ballots[file].supporters:
            self._note("nonfinite", worker, "its gradient holds NaN or infinity")

    def _note(self, kind: str, worker: int, detail: str = "") -> None:
        self._ledger.note(kind, self.step, worker, detail)
        if kind in OFFENCES:
            self.noted.append((kind, worker))
