"""What is known of the workers: all that events change, and what people are told of it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from detox.ps.events import Event, EventKind
from detox.ps.ledger import Ledger
from detox.ps.quarantine import Quarantine
from detox.ps.round import Round
from detox.ps.stragglers import Stragglers
from detox.ps.trust import Trust


class Kept(Protocol):
    """What a checkpoint keeps."""

    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class Records:
    """Those that follow the events of a run, and all that a checkpoint keeps of the workers.

    Args:
        ranks: rank of each worker.
        ledger: where events go.
        quarantine, trust: what they follow from is told when a step is closed.
        kept: what else a checkpoint keeps, by name.

    Attributes:
        stragglers: workers that have missed a deadline, and not answered enough since.
        dawdlers: the same of the moment after the last step.
        outcomes: how the holders of each file voted, counted over the steps that are closed.
    """

    def __init__(
        self, ranks: Sequence[int], ledger: Ledger, quarantine: Quarantine, trust: Trust, **kept: Kept
    ) -> None:
        self.stragglers = Stragglers(EventKind.MISSED)
        self.dawdlers = Stragglers(EventKind.TARRIED)
        self.outcomes: Counter[str] = Counter()
        self._ranks = ranks
        self._ledger = ledger
        self._quarantine = quarantine
        self._trust = trust
        self._kept: dict[str, Kept] = {
            "ledger": ledger, "quarantine": quarantine, "trust": trust, "stragglers": self.stragglers,
            "dawdlers": self.dawdlers, **kept,
        }  # fmt: skip
        self._quarantined: list[Event] = []  # of which nothing has been said yet
        self._came: list[Event] = []
        self._lost: list[int] = []
        self._exceeded = ""  # what was said of that last

    def tell(self, events: Iterable[Event]) -> None:
        """Tells all that follow the events of a run."""
        for event in events:
            self._ledger.record(event)
            self.stragglers.observe(event)
            self.dawdlers.observe(event)
            if event.kind == EventKind.DEAD and event.worker is not None:
                self._lost.append(event.worker)
            elif event.kind == EventKind.QUARANTINED:
                self._quarantined.append(event)
            elif event.kind in (EventKind.JOINED, EventKind.LEFT_OUT) and event.worker is not None:
                self._came.append(event)

    def close(self, round_: Round) -> None:
        """A step is closed."""
        self.outcomes.update(outcome.value for outcome in round_.ballots.outcomes)
        self._quarantine.observe(round_.step, round_.events)
        self._trust.observe(round_.step, round_.ballots.checked, round_.events)

    def news(self, exceeded: str, strength: str) -> tuple[str, ...]:
        """What to say since this was called: who was put into quarantine, has come, was left out, or was lost.

        Args:
            exceeded: why more than q must be Byzantine, which is said when it was not before; or empty.
            strength: how many take part now that somebody has come or was left out; or empty.
        """
        hosts = self._ledger.host_of
        said = [
            f"worker {event.worker} on {hosts[event.worker]} is in quarantine from now on: {event.detail}"
            for event in self._quarantined
            if event.worker is not None
        ]
        if here := sorted({e.worker for e in self._came if e.worker is not None and e.kind == EventKind.JOINED}):
            said.append(f"now here: {_named(here)}")
        said += [
            f"worker {event.worker} is left out: {event.detail}"
            for event in self._came
            if event.kind == EventKind.LEFT_OUT
        ]
        said += [f"now {strength}"] * bool(strength)
        if exceeded and not self._exceeded:
            said.append(exceeded)
        by_rank: dict[int, list[int]] = {}
        for worker in self._lost:
            by_rank.setdefault(self._ranks[worker], []).append(worker)
        said += [
            f"rank {rank} on {hosts[workers[0]] or 'its host'} is lost, with {_named(workers)}"
            for rank, workers in by_rank.items()
        ]
        self._quarantined, self._came, self._lost, self._exceeded = [], [], [], exceeded
        return tuple(said)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint keeps of the workers, between two steps."""
        return {name: kept.state() for name, kept in self._kept.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state; what else is in it is left."""
        for name, kept in self._kept.items():
            kept.restore(state[name])


def _named(workers: Sequence[int]) -> str:
    return f"worker{'s' * (len(workers) > 1)} {', '.join(map(str, workers))}"
