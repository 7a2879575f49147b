"""What came of a step: a record of it, or why training cannot go on."""

from dataclasses import dataclass

from detox.errors import JobError


class ServerError(JobError):
    """Training cannot go on; the message says why."""


@dataclass(frozen=True)
class StepRecord:
    """What a step did.

    Attributes:
        step: its number, from 1.
        skipped: why no update was made; empty where one was.
        seconds: by part, see stopwatch.PARTS.
        waits: seconds of "wait" by what was waited for, see stopwatch.WAITS.
        computing: seconds that workers say that a file took them, the median and the most.
        bytes_in: bytes into the PS, headers included.
        copies: of a file, that workers were asked to compute, on average.
        warnings: a sentence for each worker that was put into quarantine before the step, for each rank that was lost
            in it, for who has come or gone, and where more than q must be Byzantine.
    """

    step: int
    skipped: str
    seconds: dict[str, float]
    bytes_in: int
    copies: float
    waits: dict[str, float]
    computing: dict[str, float]
    warnings: tuple[str, ...] = ()
