"""How workers keep the promise that a claim is: whom to ask for a gradient first, and how long to wait for it."""

from detox.ps.ledger import Ledger

_HALVINGS = 10  # of the patience, at most
_WEIGHT = 0.5  # of the newest delivery in a worker's pace
_QUICK = 0.05  # seconds: who delivers within is as quick as any


class Promises:
    """The workers' records as deliverers.

    Who has broken fewer promises is asked first, then who has delivered quicker, whoever was never asked before all
    others; who delivers slowly is asked last. When a claim arrives decides nothing, for a worker could then be the
    first to claim and the last to deliver, in every step.

    Args:
        ledger: counts broken promises.
        seconds: for a gradient, from a worker that has broken none; halved for each one that it has, ten times at most.
    """

    def __init__(self, ledger: Ledger, seconds: float) -> None:
        self._ledger = ledger
        self._seconds = seconds
        self._pace: dict[int, float] = {}

    def broken(self, worker: int) -> int:
        """How often the worker did not deliver what it had claimed."""
        return self._ledger.broken_promises(worker)

    def patience(self, worker: int) -> float:
        """Seconds that the worker has to deliver, until another is asked too."""
        return self._seconds * 0.5 ** min(self.broken(worker), _HALVINGS)

    def order(self, worker: int) -> tuple[int, float]:
        """A key to sort workers by: the least is asked first."""
        return self.broken(worker), max(_QUICK, self._pace.get(worker, 0.0))

    def delivered(self, worker: int, seconds: float) -> None:
        """The worker has delivered, so long after it was asked."""
        pace = self._pace.get(worker, seconds)
        self._pace[worker] = pace + _WEIGHT * (seconds - pace)
