"""A chain of digests over the steps of a run, by which others can check it: of weights, votes and update."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from detox.errors import JobError
from detox.ps.files import keep_lines, whole_lines
from detox.wire.evidence import claim_of

_BYTES = 16  # of a digest in the file, as in the names of checkpoints


class ChainError(JobError):
    """The file is no chain; the message says from which line on."""


@dataclass(frozen=True)
class Link:
    """What a step was made of; all digests are the first 16 bytes of a BLAKE3, in hexadecimal.

    Attributes:
        step: its number.
        weights: that it began with, (d + b,).
        votes: on each file, (d + b,); None where there was none.
        f: bad votes that were tolerated.
        update: (d,), what the aggregation made of the votes; None where there was no update.
    """

    step: int
    weights: str
    votes: tuple[str | None, ...]
    f: int
    update: str | None

    def value(self, before: str) -> str:
        """The chain's value behind this link, from the value before it."""
        return blake3(f"{before}{json.dumps(asdict(self), sort_keys=True)}".encode()).hexdigest(_BYTES)


class Chain:
    """The chain that a run writes: a line for each link, appended; a resumed run goes on with the last one.

    Args:
        path: the file, in which what follows the checkpoint has been dropped; a half-written last line goes too.
        every: steps from one link to the next, the first of step 1; 0: none is written.

    Attributes:
        end: its newest value; of an empty one, no digits.

    Raises:
        ChainError: what is in the file is no chain, and nothing can be linked to it.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.end = ""
        self._path = path
        self._every = every
        if every and path.exists():
            self._go_on()

    def _go_on(self) -> None:
        try:
            links = list(read_chain(self._path))
        except ChainError as error:
            raise ChainError(f"{error}: move the file away, and the chain begins anew with this job") from None
        last, self.end = (links[-1][0].step, links[-1][1]) if links else (0, "")
        keep_lines(self._path, last, lambda _: None)

    def takes(self, step: int) -> bool:
        """Whether this step has a link."""
        return self._every > 0 and (step - 1) % self._every == 0

    def record(
        self, step: int, weights: bytes, claims: Sequence[object], votes: np.ndarray, f: int, update: Any
    ) -> None:
        """Writes down what a step was made of, where it is one that has a link.

        Args:
            step, f: see Link.
            weights: the digest of those that it began with.
            claims: what the majority claimed, by file; None where there is no vote.
            votes: (m, d + b) float32, of the m files that have one.
            update: (d,), an array, or a tensor on any device; None where there was none.
        """
        if self.takes(step):
            made = None if update is None else digest_of_update(update)
            self.add(Link(step, short(weights), digests_of_votes(claims, votes), f, made))

    def add(self, link: Link) -> None:
        """Writes a link down."""
        self.end = link.value(self.end)
        with self._path.open("a") as file:
            file.write(json.dumps({**asdict(link), "chain": self.end}) + "\n")


def read_chain(path: Path) -> Iterator[tuple[Link, str]]:
    """The links of a file, each with the chain's value behind it; a last line that is half written is left out.

    Raises:
        ChainError: a line is none, or its value does not follow from the line before it.
    """
    end, last = "", 0
    lines = [record for _, record in whole_lines(path)]
    for number, record in enumerate(lines[:-1] if lines and lines[-1] is None else lines, 1):
        try:
            link, told = _link(record), (record or {})["chain"]
        except (KeyError, TypeError, ValueError):
            raise ChainError(f"{path}: line {number} is no link of a chain") from None
        end = link.value(end)
        if end != told or link.step <= last:
            raise ChainError(f"{path}: line {number}, step {link.step}, does not follow from the line before it")
        last = link.step
        yield link, end


def _link(record: dict[str, Any] | None) -> Link:
    facts = dict(record or {})
    del facts["chain"]
    link = Link(**{**facts, "votes": tuple(facts["votes"])})
    if not isinstance(link.step, int):
        raise TypeError
    return link


def short(digest: bytes) -> str:
    """A digest as links have it."""
    return digest[:_BYTES].hex()


def digest_of_vote(vote: np.ndarray) -> str:
    """Of a vote, (d + b,) float32: what its supporters claimed."""
    return short(claim_of(vote))


def digest_of_update(update: Any) -> str:
    """Of an update, (d,): an array, or a tensor on any device."""
    if not isinstance(update, np.ndarray):
        from detox.tasks.devices import to_host  # with torch, which who reads a chain does without

        update = to_host(update)
    return short(blake3(np.ascontiguousarray(update).data.cast("B")).digest())


def digests_of_votes(claims: Sequence[object], votes: np.ndarray) -> tuple[str | None, ...]:
    """Of the votes of a step.

    Args:
        claims: by file, None where there was no vote; what a majority claimed is the digest, where that is one.
        votes: (m, d + b) float32, of the m files that have one.
    """
    rows = iter(votes)
    found: list[str | None] = []
    for claim in claims:
        row = None if claim is None else next(rows)
        found.append(None if row is None else short(claim) if isinstance(claim, bytes) else digest_of_vote(row))
    return tuple(found)
