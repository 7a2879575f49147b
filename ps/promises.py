"""How workers keep the promise that a claim is: whom to ask for a gradient first, and how long to wait for it."""

import math
from collections import Counter
from typing import Any, Literal

from detox.ps.events import EventKind
from detox.ps.ledger import Ledger
from detox.ps.pace import Pace, Times

FETCH_DEADLINE = 20.0
"""Seconds for a gradient, where it is not known what they take."""
QUICK = 0.05
"""Seconds: who delivers within is as quick as any."""

_HALVINGS = 10  # of the patience, at most
_WEIGHT = 0.5  # of the newest delivery in a worker's pace
_LEAST = 0.5  # seconds beyond being late
_SOME = 5.0  # seconds beyond being late, in which a pause of an honest link is over


class Promises:
    """The workers' records as deliverers.

    Who has broken fewer promises is asked first, then who has delivered quicker, whoever was never asked before all
    others; who delivers slowly is asked last. When a claim arrives decides nothing, for a worker could then be the
    first to claim and the last to deliver, in every step.

    With "auto", a worker has until deliveries are late (see Pace), and as long as a file takes, half a second at least,
    for it may be computing another one. What nobody knows yet is 20 seconds. A delivery in time makes up for a promise
    that was broken, but not for a lie: in a long run the honest break some, too.

    Args:
        ledger: counts broken promises.
        seconds: for a gradient, from a worker that has broken none; halved for each one that it has, ten times at most.
        claims: of the pace of claims; needed where seconds is "auto".
    """

    def __init__(self, ledger: Ledger, seconds: float | Literal["auto"], claims: Pace | None = None) -> None:
        self._ledger = ledger
        self._given = None if seconds == "auto" else seconds
        self._claims = claims or Pace()
        self._deliveries = Pace()
        self._step = Times()
        self._pace: dict[int, float] = {}
        self._made_up: Counter[int] = Counter()

    def begin(self) -> Times:
        """The deliveries of a new step, to be kept by who asks for them."""
        self._step = Times()
        return self._step

    def broken(self, worker: int) -> int:
        """How often the worker did not deliver what it had claimed, and has not made up for it."""
        return self._ledger.broken_promises(worker) - self._made_up[worker]

    @property
    def late(self) -> float:
        """Seconds after which a delivery of the step is late; infinite where nobody knows, 0 where none is awaited."""
        return self._late if self._step.since else 0.0

    @property
    def overdue(self) -> float:
        """Seconds after which a delivery is late that may have waited for another file; infinite where nobody knows."""
        return self._late + self._room if self._given is None else self._given

    def patience(self, worker: int) -> float:
        """Seconds that the worker has to deliver, until another is asked too."""
        late = self._late
        if self._given is not None or math.isinf(late):
            return self._halved(worker, FETCH_DEADLINE if self._given is None else self._given)
        return late + self._halved(worker, self._room)

    def last_chance(self, worker: int) -> float:
        """Seconds that the worker has to deliver, until the file goes without a vote if no other can.

        With "auto" that is what is late and some seconds, at least.
        """
        if self._given is not None:
            return self._halved(worker, self._given)
        late = self._late
        return FETCH_DEADLINE if math.isinf(late) else max(late + _SOME, self._halved(worker, FETCH_DEADLINE))

    @property
    def _late(self) -> float:
        """Seconds after which a delivery is late; infinite where nobody knows."""
        late, usual = self._deliveries.late_of_few(self._step), self._deliveries.usual
        if math.isinf(late):
            late = max(self._step.late_of_most, 0.0 if math.isinf(usual) else usual)
        return late

    @property
    def _room(self) -> float:
        """Seconds for a file that a worker may be computing while it is asked to deliver."""
        usual = self._claims.usual
        return max(_LEAST, 0.0 if math.isinf(usual) else usual)

    def order(self, worker: int) -> tuple[int, float]:
        """A key to sort workers by: the least is asked first."""
        return self.broken(worker), max(QUICK, self._pace.get(worker, 0.0))

    def delivered(self, worker: int, seconds: float) -> None:
        """The worker has delivered, so long after it was asked."""
        if seconds <= self.overdue and self._made_up[worker] < self._ledger.counts[worker][EventKind.WITHHELD]:
            self._made_up[worker] += 1
        self._deliveries.learn(seconds)
        pace = self._pace.get(worker, seconds)
        self._pace[worker] = pace + _WEIGHT * (seconds - pace)

    def _halved(self, worker: int, seconds: float) -> float:
        return seconds * 0.5 ** min(self.broken(worker), _HALVINGS)

    def state(self) -> dict[str, Any]:
        """All of it between two steps, for a checkpoint."""
        return {"deliveries": self._deliveries.state(), "pace": dict(self._pace), "made_up": dict(self._made_up)}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._deliveries.restore(state["deliveries"])
        self._pace = dict(state["pace"])
        self._made_up = Counter(state["made_up"])
