"""How long the PS waits for whom: for nobody much longer than for the others, in the long run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from detox.ps.events import Event, EventKind
from detox.ps.pace import Pace, Times

Auto = Literal["auto"]
DEADLINE = 60.0
"""Seconds that a step may take, where too few votes come and nothing else is known."""

_SPARE = 0.5  # seconds, beyond being late, for a claim that no vote hangs on
_CREDIT = 5.0  # seconds, at least, that a worker may keep steps waiting beyond being late, before it is passed over
_REFILL = 0.05  # of the time that goes by, until it has them again
_LONG_STEPS = 2.0  # times what is late, which the credit is at least, and the deadline of a step where that is more
_UNKNOWN = 8.0  # deadlines for a step in which nobody has said yet what an answer takes
_KEEPS_UP = 2  # steps that one that was passed over has to answer in time
_TURN = 1.0  # seconds between two turns that count: if it were more, it was the PS that stood still


@dataclass(frozen=True)
class Wait:
    """What keeps a step waiting.

    Attributes:
        worker: whose claim, or gradient, is awaited.
        since: when it was asked.
        needed: whether the file can have no vote without this one, or another that is awaited as well.
        late: of a gradient that was claimed, seconds after which it is late; None: the claims of the step say it.
    """

    worker: int
    since: float
    needed: bool
    late: float | None = None


class Patience:
    """Who is waited for, by what answers take (see Pace), under `deadline = "auto"`.

    A claim that no vote hangs on, for the file has one or another holder can be asked, is waited for until it is late
    and half a second more. One that a vote hangs on is waited for longer: each worker may keep steps waiting for five
    seconds beyond being late, or twice what is late if that is more, 60 at most, in one step or in many, and has 5 % of
    the time that goes by given back. Who has spent that, or kept a step waiting where no vote hung on it, is passed
    over, which is an event. From the next step on it is waited for only where a vote hangs on it, until half of what is
    late; and not at all while it is silent. When it has answered two steps in time it is waited for as before.

    The same credit pays for a gradient that was claimed and is late, where no other can be asked for it. When all that
    could deliver have spent theirs, the file goes without a vote.

    So a stall does not cost an honest worker its vote; colluders cannot slow steps for ever beyond what is late and 5 %
    of the time for each of them; and where a file's majority is honest and keeps up, no vote hangs on time.

    A step ends at its deadline with the votes that it has. That is 60 seconds, or twice what is late if that is more,
    so that a slow model trains: late by the last answers, or by those of the newest step that more than half have
    answered, in time or not. After a step that more than half have missed it is doubled, up to eight minutes; so long
    it is, too, until more than half have answered the first step of a job, which may compile.

    A deadline that is given is just that: what a vote hangs on is waited for until then.

    Args:
        p: workers.
        deadline: seconds that a step may take until it goes on with the votes that it has.
    """

    def __init__(self, p: int, deadline: float | Auto = "auto") -> None:
        self.pace = Pace()
        self._given = None if deadline == "auto" else deadline
        self._spent = [0.0] * p
        self._behind: dict[int, int] = {}  # worker -> steps that it still has to keep up
        self._unheard: set[int] = set()  # of these, who has not answered since
        self._before: frozenset[int] = frozenset()  # who was behind when the step began,
        self._mute: frozenset[int] = frozenset()  # and unheard
        self._late: set[int] = set()
        self._given_up: set[int] = set()
        self._newest = math.inf  # what is late by the newest step of this job that more than half have answered
        self._began = self._turned = math.nan

    @property
    def late(self) -> frozenset[int]:
        """Workers that are waited for no longer in the step under way, but for what is needed."""
        return frozenset(self._late | self._given_up)

    @property
    def given_up(self) -> frozenset[int]:
        """Those that are not waited for whatever hangs on it, if there are votes enough."""
        return frozenset(self._given_up)

    @property
    def behind(self) -> frozenset[int]:
        """Workers that were passed over, and have not caught up."""
        return frozenset(self._behind)

    def begin(self, now: float) -> None:
        """A step begins."""
        if not math.isnan(self._began):
            back = _REFILL * (now - self._began)
            self._spent = [max(0.0, spent - back) for spent in self._spent]
        self._began = self._turned = now
        self._before, self._mute = frozenset(self._behind), frozenset(self._unheard)
        self._late.clear()
        self._given_up.clear()

    def deadline(self, claims: Times, deliveries: float = 0.0) -> float:
        """Seconds that the step may take.

        Args:
            claims: of the step.
            deliveries: seconds after which a delivery is late; infinite where nobody knows.
        """
        if self._given is not None:
            return self._given
        late = self._newest if math.isinf(claims.late) else claims.late
        if math.isfinite(self.pace.usual):
            late = max(late, self.pace.usual)
        late += deliveries
        return _UNKNOWN * DEADLINE if math.isinf(late) else max(DEADLINE, _LONG_STEPS * late)

    def miss(self, claims: Times) -> None:
        """The step ended at its deadline; the next has twice as long, up to what a first one has, if most missed it.

        Args:
            claims: of the step.
        """
        if math.isinf(claims.late):
            most = max(_UNKNOWN * DEADLINE / _LONG_STEPS, 0.0 if math.isinf(self._newest) else self._newest)
            self._newest = min(self.deadline(claims), most)

    def hear(self, step: int, claims: Times) -> list[Event]:
        """Learns from the claims of a step that have come."""
        events, fresh = [], claims.pop()
        if fresh and math.isfinite(claims.late):
            self._newest = claims.late
        for worker, seconds in fresh:
            self.pace.learn(seconds)
            self._unheard.discard(worker)
            if worker in self._behind:
                in_time = seconds <= self.pace.late(claims)
                self._behind[worker] = self._behind[worker] - 1 if in_time else _KEEPS_UP
                if not self._behind[worker]:
                    del self._behind[worker]
                    events.append(Event(EventKind.CAUGHT_UP, step, worker, detail=f"in {_KEEPS_UP} steps"))
        return events

    def turn(self, step: int, now: float, waits: Sequence[Wait], claims: Times) -> list[Event]:
        """Keeps the account of those that keep the step waiting, and says who is passed over.

        Args:
            step: the step.
            now: seconds on a monotonic clock.
            waits: what is waited for.
            claims: of the step.
        """
        elapsed, self._turned = min(now - self._turned, _TURN), now
        if not waits:
            return []
        of_claims, half, credit = self.pace.late(claims), self.deadline(claims) / 2, self._credit
        events = []
        for wait in waits:
            worker, waited = wait.worker, now - wait.since
            late = of_claims if wait.late is None else wait.late
            over = self._given_up if wait.needed else self._late
            if worker in over or not self._is_over(wait, waited, late, elapsed, half, credit):
                continue
            over.add(worker)
            if math.isinf(late):
                continue  # the next are asked, but nobody is known to be slow
            if wait.late is None:
                self._unheard.add(worker)
            if worker not in self._behind:
                did = "answered" if wait.late is None else "delivered"
                detail = f"had not {did} after {waited:.3g} s, late is {late:.3g}"
                events.append(Event(EventKind.PASSED_OVER, step, worker, detail=detail))
                self._behind[worker] = _KEEPS_UP
        return events

    def _is_over(self, wait: Wait, waited: float, late: float, elapsed: float, half: float, credit: float) -> bool:
        if wait.needed and self._given is not None:
            return False
        if wait.late is None and wait.worker in self._before & self._behind.keys():  # and has not caught up meanwhile
            return not wait.needed or wait.worker in self._mute & self._unheard or waited > late / 2
        if waited > late:
            self._spent[wait.worker] += min(elapsed, waited - late)
        left = max(0.0, credit - self._spent[wait.worker])
        if wait.needed:
            return waited > late and not left
        return waited > min(late + min(_SPARE, left), half)

    @property
    def _credit(self) -> float:
        return _CREDIT if math.isinf(self.pace.usual) else min(max(_CREDIT, _LONG_STEPS * self.pace.usual), DEADLINE)

    def state(self) -> dict[str, Any]:
        """All of it between two steps, for a checkpoint."""
        return {
            "pace": self.pace.state(),
            "spent": list(self._spent),
            "behind": dict(self._behind),
            "unheard": sorted(self._unheard),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self.pace.restore(state["pace"])
        self._spent = list(state["spent"])
        self._behind = dict(state["behind"])
        self._unheard = set(state["unheard"])
