"""All ballots of one step."""

from collections.abc import Set

from detox.assignment import Edge
from detox.ps.ballots.ballot import Ballot
from detox.ps.ballots.tally import Outcome
from detox.ps.events import Event


class Ballots(tuple[Ballot, ...]):
    """One per file, in their order."""

    __slots__ = ()

    @property
    def direct(self) -> bool:
        """Whether gradients come without a claim."""
        return any(ballot.direct for ballot in self)

    @property
    def agreed(self) -> bool:
        """Whether each file has a vote, or a majority that claims one."""
        return all(ballot.settled or ballot.tally.majority is not None for ballot in self)

    @property
    def kept(self) -> list[int]:
        """Files that have a vote."""
        return [ballot.file for ballot in self if ballot.settled]

    @property
    def undecided(self) -> list[int]:
        """Files of which no vote has been accepted."""
        return [ballot.file for ballot in self if not ballot.settled]

    @property
    def majorities(self) -> list[object]:
        """What the majority claimed, by file; None where there is no vote."""
        return [ballot.tally.majority if ballot.settled else None for ballot in self]

    @property
    def unheard(self) -> frozenset[int]:
        """Workers that have not claimed, or sent, a gradient that they were to compute."""
        return frozenset(w for ballot in self for w in ballot.tally.called if w not in ballot.tally.claims)

    @property
    def verdicts(self) -> list[Event]:
        """What the votes say of each worker so far."""
        return [event for ballot in self for event in ballot.verdicts()]

    @property
    def copies(self) -> float:
        """Copies of a file that workers were asked to compute so far, on average; 0 where there is no file."""
        return sum(len(ballot.tally.called) for ballot in self) / max(1, len(self))

    @property
    def checked(self) -> frozenset[Edge]:
        """The edges whose file somebody else was asked for as well, or that the PS computed."""
        return frozenset(
            (worker, ballot.file)
            for ballot in self
            for worker in ballot.tally.called
            if len(ballot.tally.called) > 1 or ballot.tally.truth is not None
        )

    @property
    def outcomes(self) -> list[Outcome]:
        """How the holders of each file voted."""
        return [ballot.outcome for ballot in self]

    def finished(self, gone: Set[int] = frozenset(), late: Set[int] = frozenset()) -> bool:
        """Whether nothing more can come of waiting.

        Args:
            gone: workers that are waited for no longer.
            late: those that are waited for only where a vote hangs on it.
        """
        return all(ballot.finished(gone | late if ballot.settled else gone) for ballot in self)

    def call(self, absent: Set[int], gone: Set[int]) -> list[Edge]:
        """Calls on deferred holders where those asked before do not agree, or do not answer: whom to send work now.

        Args:
            absent: workers that are not waited for.
            gone: workers out of reach.
        """
        return [(worker, ballot.file) for ballot in self for worker in ballot.call(absent, gone)]
