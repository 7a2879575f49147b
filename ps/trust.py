"""Trust that is earned: who has agreed with others often is checked less often, until it errs (BOINC)."""

from collections.abc import Iterable, Set
from typing import Any

from detox.assignment import Edge
from detox.ps.events import Event, EventKind, Trait, kinds

_ERRORS = frozenset((*kinds(Trait.OFFENCE), *kinds(Trait.BROKEN_PROMISE), EventKind.NONFINITE, EventKind.PROVEN))
_RESULTS = 10


class Trust:
    """With what probability each worker's work is to be checked.

    A worker with n valid results since its last error is trusted with probability 1 - 1/n, once n is 10; before that it
    never is (BOINC, adaptive replication). A result is valid if another worker or the PS checked it, and the vote is
    the same. That saves work where errors come of hardware. Byzantine workers earn trust, and spend it.

    Args:
        p: workers.
        lag: steps from a step until its results count, so that a job that was resumed decides as one that was not.
    """

    def __init__(self, p: int, lag: int) -> None:
        self._valid = [0] * p
        self._lag = lag
        self._kept: dict[int, list[tuple[int, bool]]] = {}  # step -> (worker, whether it was right), not counted yet

    def observe(self, step: int, checked: Set[Edge], events: Iterable[Event]) -> None:
        """Takes the events of a step that is closed.

        Args:
            step: the step.
            checked: the edges whose file had more than one copy.
            events: what there is to say of its workers.
        """
        told = self._kept.setdefault(step, [])
        for event in events:
            if event.worker is None:
                continue
            if event.kind in _ERRORS:
                told.append((event.worker, False))
            elif event.kind == EventKind.AGREED and (event.worker, event.file) in checked:
                told.append((event.worker, True))

        for old in sorted(at for at in self._kept if at < step - self._lag):
            self._valid = self._counted(self._valid, self._kept.pop(old))

    def chance(self, worker: int, step: int) -> float:
        """The probability with which the worker's result of `step` is to be checked.

        Args:
            worker: the worker.
            step: later than all that has been observed.
        """
        valid = self._valid
        for at in sorted(self._kept):
            if at < step - self._lag:
                valid = self._counted(valid, self._kept[at])
        return 1 / valid[worker] if valid[worker] >= _RESULTS else 1.0

    @staticmethod
    def _counted(valid: list[int], results: list[tuple[int, bool]]) -> list[int]:
        found, wrong = list(valid), {worker for worker, right in results if not right}
        for worker, _ in results:
            found[worker] = 0 if worker in wrong else found[worker] + 1
        return found

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {"valid": list(self._valid), "kept": {step: list(told) for step, told in self._kept.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._valid = list(state["valid"])
        self._kept = {step: [tuple(one) for one in told] for step, told in state["kept"].items()}
