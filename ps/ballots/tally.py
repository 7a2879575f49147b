"""Counting the claims for one file: a strict majority on equal bits, or none."""

from collections import Counter
from collections.abc import Hashable, Iterable, Set
from enum import StrEnum

from detox.ps.events import EventKind


class Outcome(StrEnum):
    """How a group voted."""

    UNANIMOUS = "unanimous"
    MAJORITY = "majority"
    NONE = "none"
    RECOMPUTED = "recomputed"
    """The PS computed the file itself, and no majority had claimed the same."""


class Tally:
    """Claims of a file's holders as they come in.

    A majority is strict: more than half of all holders, whether they have claimed or not. So it is unique, and
    neither the order of arrival nor what is still missing can change it; only the PS's own computation overrules it.

    Args:
        holders: the workers of the file, r of them, in the order in which they are asked.

    Attributes:
        called: the holders that have been asked; all, unless some are deferred.
        lazy: whether holders are asked one after the other, so that a vote needs no further copy.
    """

    def __init__(self, holders: Iterable[int]) -> None:
        self.holders = tuple(holders)
        self.called = self.holders
        self.lazy = False
        self.claims: dict[int, Hashable | None] = {}
        self.truth: Hashable | None = None
        self._counts: Counter[Hashable] = Counter()
        self._leading: tuple[Hashable | None, int] = None, 0  # the value that most holders claim, and how many they are

    def defer(self, first: int) -> None:
        """Only the first holders have been asked; the others wait until they are called."""
        self.lazy = True
        self.called = self.holders[:first]

    def call(self, count: int, gone: Set[int]) -> list[int]:
        """The next so many holders that are asked, those in `gone` left out."""
        called = [w for w in self.holders if w not in self.called and w not in gone][:count]
        self.called += tuple(called)
        return called

    def lacking(self, out: Set[int]) -> int:
        """How many holders more it takes to be asked for a majority at the least, if those in `out` do not claim."""
        if self.majority is not None:
            return 0
        coming = sum(1 for w in self.called if w not in self.claims and w not in out)
        return max(0, len(self.holders) // 2 + 1 - self._leading[1] - coming)

    def claim(self, worker: int, value: Hashable | None) -> None:
        """Counts the claim of a holder; None for one that can agree with nobody, itself included.

        Raises:
            ValueError: the holder has claimed before; its first claim counts.
        """
        if worker in self.claims:
            raise ValueError(f"worker {worker} has claimed before")
        self.claims[worker] = value
        if value is not None:
            self._counts[value] += 1
            if self._counts[value] > self._leading[1]:
                self._leading = value, self._counts[value]

    def decide(self, truth: Hashable) -> None:
        """Overrules the vote by what a trusted computation gave."""
        self.truth = truth

    @property
    def majority(self) -> Hashable | None:
        """The value that a strict majority claims, None while there is none; or what has been decided."""
        if self.truth is not None:
            return self.truth
        value, count = self._leading
        return value if 2 * count > len(self.holders) else None

    @property
    def supporters(self) -> list[int]:
        """The holders that claim the majority's value, in order of arrival."""
        majority = self.majority
        return [] if majority is None else [w for w, value in self.claims.items() if value == majority]

    def hopeless(self, gone: Set[int] = frozenset()) -> bool:
        """Whether no majority can come about any more, with the holders in `gone` out of reach."""
        if self.majority is not None:
            return False
        missing = sum(1 for w in self.holders if w not in self.claims and w not in gone)
        return 2 * (self._leading[1] + missing) <= len(self.holders)

    @property
    def outcome(self) -> Outcome:
        """How the group voted, by the claims so far."""
        supporters = len(self.supporters)
        if 2 * supporters <= len(self.holders):
            return Outcome.NONE if self.truth is None else Outcome.RECOMPUTED
        return Outcome.UNANIMOUS if supporters == len(self.called) else Outcome.MAJORITY

    def contradicting(self, worker: int) -> tuple[int, ...]:
        """The holders that claim something else than this one, if it has claimed."""
        value = self.claims.get(worker)
        if value is None:
            return ()
        return tuple(w for w in self.called if self.claims.get(w) not in (None, value))

    def says_of(self, worker: int) -> EventKind:
        """What the vote says of a holder; nobody is blamed where there is no majority."""
        if worker not in self.claims:
            return EventKind.SILENT
        majority = self.majority
        if majority is None:
            return EventKind.UNDECIDED
        if self.claims[worker] == majority:
            return EventKind.AGREED
        return EventKind.DISSENTED if self.truth is None else EventKind.CONVICTED
