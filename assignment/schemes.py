"""The schemes by which files are assigned to workers.

A scheme to add: a class with the methods of Scheme, and a line in SCHEMES.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np

from detox.assignment.assignment import Assignment
from detox.assignment.designs import Design, Mols, Ramanujan, Steiner
from detox.assignment.seeds import stream
from detox.errors.words import counted


class Scheme(Protocol):
    """What the server needs of a scheme; one that a config names has `why_not` and `files` besides, as Groups has."""

    def draw(self, step: int, workers: Sequence[int]) -> Assignment:
        """The assignment of a step.

        Args:
            step: from 1; groups that stay are the same in every step.
            workers: ids in ascending order, those in quarantine left out.
        """
        ...

    def worst_case(self, q: int, files: int) -> int:
        """The most of `files` votes that q Byzantine workers can spoil, wherever they are."""
        ...


def worst_case(q: int, r: int, votes: int) -> int:
    """The most bad votes that q Byzantine workers can make in groups of r: floor(q / ((r+1)/2)), or all."""
    return min(votes, q // ((r + 1) // 2))


def lazy_worst_case(q: int, r: int, votes: int, circles: int = 1) -> int:
    """The most bad votes that q Byzantine workers can make where copies are lazy, see Groups.

    Each bad vote takes m = (r+1)/2 of a file's r holders. A worker holds two files at most, and two neighbouring files
    share m - 1 of them: so B files that are neighbours take q with 2q >= mB, and q >= B + m - 1 unless B is all files
    of a circle; with several circles, of which one may be small, only the first counts.
    """
    m = (r + 1) // 2
    if q < m:
        return 0
    most = min(votes, 2 * q // m)
    return most if circles > 1 or 2 * q >= m * votes else min(most, q - m + 1)


class Groups(ABC):
    """Disjoint groups of r workers, group j being the holders of file j (DETOX, Algorithm 1, line 1).

    Workers that remain have nothing to do.

    Lazy: workers stand in a circle, every m = (r+1)/2 of them are asked for a file at once, the last ones for the last
    file if they are fewer, and the r - m that follow are its further holders. So each worker has one file at first, and
    is a further holder of one other at most; r workers in a random circle are a random group.

    Args:
        r: workers per group, odd.
        seed: of the draw.
        classes: disjoint sets of workers; no group has members of two. Empty: all are of one class.
        lazy: whether only m holders of a file are asked at first.
    """

    secret: ClassVar[bool] = False
    """Whether the draw is by the seed that only the PS knows."""

    def __init__(self, r: int, seed: int = 0, classes: Sequence[Collection[int]] = (), lazy: bool = False) -> None:
        self._r = r
        self._lazy = lazy
        self._seed = seed
        self._classes = [list(members) for members in classes]

    @staticmethod
    def why_not(p: int, r: int, lazy: bool = False) -> str:
        """Why p workers cannot be split into groups of r; empty where they can."""
        if r % 2 == 0:
            return f"r = {r} is even, and a majority vote needs odd groups"
        if lazy:
            return f"p = {counted(p, 'worker')} cannot fill a group of r = {r}" if p < r else ""
        if p % r:
            return f"p = {counted(p, 'worker')} cannot be split into groups of r = {r}"
        return ""

    @staticmethod
    def files(p: int, r: int, lazy: bool = False) -> int:
        """Files of a step where nobody is in quarantine and all workers are of one class."""
        return p // ((r + 1) // 2 if lazy else r)

    def draw(self, step: int, workers: Sequence[int]) -> Assignment:
        """Partitions the workers; members of a group are in ascending order, those of lazy ones in the circle's."""
        order, r = self._order(step, workers), self._r
        parts = [order[np.isin(order, members)] for members in self._classes] or [order]
        if self._lazy:
            return self._circles([part.tolist() for part in parts if len(part) >= r])
        return Assignment(
            tuple(
                tuple(sorted(part[first : first + r].tolist()))
                for part in parts
                for first in range(0, len(part) - r + 1, r)
            )
        )

    def worst_case(self, q: int, files: int) -> int:
        """floor(q / ((r+1)/2)): a bad vote takes a strict majority of its group; for lazy ones see lazy_worst_case."""
        return lazy_worst_case(q, self._r, files, len(self._classes)) if self._lazy else worst_case(q, self._r, files)

    def _circles(self, parts: Sequence[list[int]]) -> Assignment:
        m = (self._r + 1) // 2
        holders, first = [], []
        for part in parts:
            for start in range(0, len(part) - m + 1, m):
                holders.append(tuple(part[(start + i) % len(part)] for i in range(self._r)))
                first.append(len(part) - start if len(part) - start < 2 * m else m)
        return Assignment(tuple(holders), tuple(first))

    @abstractmethod
    def _order(self, step: int, workers: Sequence[int]) -> np.ndarray:
        """The workers in the order in which groups are cut from them."""


class FixedGroups(Groups):
    """Groups of workers in the order given."""

    def _order(self, step: int, workers: Sequence[int]) -> np.ndarray:
        return np.asarray(workers)


class RandomGroups(Groups):
    """Groups drawn once."""

    def _order(self, step: int, workers: Sequence[int]) -> np.ndarray:
        return stream(self._seed, "groups").permutation(workers)


class RedrawnGroups(Groups):
    """Groups drawn anew each step, in secret."""

    secret = True

    def _order(self, step: int, workers: Sequence[int]) -> np.ndarray:
        return stream(self._seed, "groups", step).permutation(workers)


class AuditedFiles:
    """One holder a file, and for k files of a step an auditor, who has no file of its own: so no step gets longer.

    Which workers audit, and which files, is drawn anew each step, in secret. Where auditor and holder disagree, the
    holder of another file decides.

    Args:
        k: auditors; fewer than half of the workers.
        seed: secret.
        chance: the probability with which a worker is to be checked in a step, given both; None: one. Where fewer than
            k are, the other auditors have a file of their own.
    """

    def __init__(self, k: int, seed: int = 0, chance: Callable[[int, int], float] | None = None) -> None:
        self._k = k
        self._seed = seed
        self._chance = chance

    @staticmethod
    def why_not(p: int, k: int) -> str:
        """Why p workers cannot have k auditors; empty where they can."""
        return (
            f"{k} auditors among p = {counted(p, 'worker')} are too many: at most {(p - 1) // 2}" if 2 * k >= p else ""
        )

    def draw(self, step: int, workers: Sequence[int]) -> Assignment:
        """The assignment of a step; where quarantine has left few, fewer of them audit."""
        rng = stream(self._seed, "groups", step)
        order = rng.permutation(workers).tolist()
        k = min(self._k, (len(order) - 1) // 2)
        if self._chance is not None:
            return self._draw_by_chance(step, order, k, rng, self._chance)
        auditors, owners = order[:k], order[k:]
        return self._audited(owners, rng.choice(len(owners), k, replace=False).tolist(), auditors)

    def _draw_by_chance(
        self, step: int, order: list[int], k: int, rng: np.random.Generator, chance: Callable[[int, int], float]
    ) -> Assignment:
        drawn = rng.random(len(order)).tolist()
        checked = [worker for worker, one in zip(order, drawn, strict=True) if one < chance(worker, step)][:k]
        auditors = [worker for worker in reversed(order) if worker not in checked][: len(checked)]
        owners = [worker for worker in order if worker not in auditors]
        return self._audited(owners, [owners.index(worker) for worker in checked], auditors)

    @staticmethod
    def _audited(owners: list[int], files: list[int], auditors: list[int]) -> Assignment:
        """One file each for its owner; some with an auditor, and the next owner to decide."""
        holders: list[tuple[int, ...]] = [(owner,) for owner in owners]
        for file, auditor in zip(files, auditors, strict=True):
            holders[file] = (owners[file], auditor, owners[(file + 1) % len(owners)])
        return Assignment(tuple(holders), tuple(min(2, len(of_one)) for of_one in holders))

    def worst_case(self, q: int, files: int) -> int:
        """q: each bad vote has a Byzantine worker that has no part in another, the file's holder or its auditor."""
        return min(q, files)


SCHEMES: Mapping[str, type[Groups] | type[Design]] = {
    "fixed": FixedGroups,
    "random": RandomGroups,
    "redrawn": RedrawnGroups,
    "mols": Mols,
    "ramanujan": Ramanujan,
    "steiner": Steiner,
}
"""Schemes by the name that `groups` has in a config."""
