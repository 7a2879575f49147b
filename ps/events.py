"""What can be said of a worker in a step, and what each of it means."""

from dataclasses import dataclass
from enum import Flag, StrEnum, auto
from functools import cache

from detox.ps.diagnosis import Diagnosis


class Trait(Flag):
    """What follows from an event, whoever has it."""

    BY_VOTE = auto()
    """The vote on a file says it of a holder, once."""
    OFFENCE = auto()
    """It counts towards quarantine."""
    PROOF = auto()
    """It takes no vote: the PS's own computation, the worker's own two messages, or claims of others than can all be
    Byzantine contradict the worker."""
    BROKEN_PROMISE = auto()
    """The worker claimed a gradient and did not deliver it."""
    BLAMELESS = auto()
    """It can befall any honest worker, through no act of its own."""
    ONCE = auto()
    """It happens once, and is true from then on."""
    FLOOD = auto()
    """A sender can cause as many as it likes."""
    NOTE = auto()
    """It tells more of another event: it is written, and not counted."""
    UNWRITTEN = auto()
    """It is for the PS's own use: the ledger leaves it out."""


class EventKind(StrEnum):
    """The kinds of events, the mildest first; the words are those of the ledger."""

    traits: Trait
    meaning: str

    def __new__(cls, value: str, traits: Trait, meaning: str) -> "EventKind":
        """A kind with its traits and its meaning in words."""
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.traits = traits
        kind.meaning = meaning
        return kind

    HEARD = "heard", Trait.BLAMELESS | Trait.UNWRITTEN, "an answer of its came whole, in time to be counted"
    MISSED = "missed", Trait.BLAMELESS | Trait.UNWRITTEN, "had not answered at the deadline"
    TARRIED = "tarried", Trait.BLAMELESS | Trait.UNWRITTEN, "had not answered a moment after the last step"
    AGREED = "agreed", Trait.BY_VOTE | Trait.BLAMELESS, "with its group's majority, or no file"
    CLEARED = "cleared", Trait.BLAMELESS | Trait.UNWRITTEN, "its claim is what the PS computed"
    JOINED = "joined", Trait.BLAMELESS | Trait.FLOOD, "takes part from here on: it has come, or come back"
    LEFT_OUT = "left_out", Trait.BLAMELESS | Trait.FLOOD, "takes no part: it has not come, or cannot do the work"
    QUARANTINED = "quarantined", Trait.BLAMELESS | Trait.ONCE, "out of all groups from here on"
    SPARED = "spared", Trait.BLAMELESS, "not quarantined: too few would be left"
    PASSED_OVER = "passed_over", Trait.BLAMELESS, "kept steps waiting longer than the others, and is not waited for"
    CAUGHT_UP = "caught_up", Trait.BLAMELESS, "answers in time again, and is waited for"
    LATE = "late", Trait.FLOOD, "after the step was closed"
    UNDECIDED = "undecided", Trait.BY_VOTE | Trait.BLAMELESS, "its group had no majority, or one too near to tell"
    SILENT = "silent", Trait.BY_VOTE, "claimed nothing"
    DEAD = "dead", Trait.ONCE, "its rank is lost"
    MALFORMED = "malformed", Trait.FLOOD, "no proper message"
    WITHHELD = "withheld", Trait.BROKEN_PROMISE, "claimed, did not deliver in time"
    NONFINITE = "nonfinite", Trait(0), "NaN or infinity"
    COMPLAINED = (
        "complained",
        Trait.NOTE | Trait.BLAMELESS | Trait.FLOOD,
        "says that another rank's slice of the weights did not come, or was wrong",
    )
    EXAMINED = "examined", Trait.NOTE | Trait.BLAMELESS, "how what it claimed differs from the vote"
    DISSENTED = "dissented", Trait.BY_VOTE | Trait.OFFENCE, "from a strict majority"
    EQUIVOCATED = "equivocated", Trait.OFFENCE | Trait.PROOF, "two claims for one file"
    LIED = "lied", Trait.OFFENCE | Trait.PROOF | Trait.BROKEN_PROMISE, "its payload is not its claim"
    CONVICTED = "convicted", Trait.BY_VOTE | Trait.OFFENCE | Trait.PROOF, "its claim is not what the PS computed"
    PROVEN = "proven", Trait.PROOF | Trait.ONCE, "q Byzantine workers without it cannot explain who contradicts whom"

    def has(self, trait: Trait) -> bool:
        """Whether events of this kind have the trait."""
        return trait in self.traits


@cache
def kinds(trait: Trait) -> tuple[EventKind, ...]:
    """The kinds with this trait, the mildest first."""
    return tuple(kind for kind in EventKind if kind.has(trait))


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a worker did, or that happened to it.

    Attributes:
        kind: what.
        step: when.
        worker: who; None where a message cannot be pinned on one worker of the rank that sent it.
        file: the file that it is about; None where it is about none.
        detail: more, in words.
        rank: the sender, where there is no worker.
        others: the workers that claimed something else for the same file; of a worker that is proven, those whose
            claims prove it; of a complaint, those of the rank that it is about.
        diagnosis: of a worker that was examined.
    """

    kind: EventKind
    step: int
    worker: int | None
    file: int | None = None
    detail: str = ""
    rank: int | None = None
    others: tuple[int, ...] = ()
    diagnosis: Diagnosis | None = None
