"""Who computes which file in a step."""

from collections.abc import Iterator
from dataclasses import dataclass

Edge = tuple[int, int]
"""A worker, and a file that it holds: what claims, gradients and events are about."""


@dataclass(frozen=True)
class Assignment:
    """The files of a step and the workers that compute each of them.

    Attributes:
        holders: of each file, its workers, in the order in which they are asked; no worker twice.
        first: of each file, how many of them are asked at once, the others only where those do not agree; empty: all.
    """

    holders: tuple[tuple[int, ...], ...]
    first: tuple[int, ...] = ()

    @property
    def edges(self) -> Iterator[Edge]:
        """Every worker with every file that it is asked for at once, file by file."""
        for file, holders in enumerate(self.holders):
            for worker in holders[: self.first[file]] if self.first else holders:
                yield worker, file

    def files(self, worker: int) -> tuple[int, ...]:
        """The files that a worker holds; a worker may hold none, or several."""
        return tuple(file for file, holders in enumerate(self.holders) if worker in holders)
