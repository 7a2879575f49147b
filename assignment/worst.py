"""The most files that q Byzantine workers can spoil who know the assignment, and which workers these are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np

_EFFORT = 1_000_000
"""Workers that a search may look at, which takes some seconds."""


@dataclass(frozen=True)
class Worst:
    """What q workers can do at the most.

    Attributes:
        workers: q of them, the best that were found.
        files: how many files these spoil.
        bound: no q workers spoil more.
    """

    workers: tuple[int, ...]
    files: int
    bound: int

    @property
    def exact(self) -> bool:
        """Whether no q workers spoil more than these."""
        return self.files == self.bound


@lru_cache(maxsize=256)
def worst(holders: tuple[tuple[int, ...], ...], q: int, effort: int = _EFFORT) -> Worst:
    """The q workers that hold a strict majority of the most files.

    Exact where greedy choices reach a bound, or where a search by branch and bound ends in time; else the best that
    was found, and the least bound: that of the spectrum, of pairs, or of incidences.

    Args:
        holders: of each file.
        q: Byzantine workers.
        effort: workers that the search may look at.
    """
    search = _Search(holders, q, effort)
    bound = min(search.incidences(), search.pairs(), spectral_bound(holders, q))
    search.greedy()
    if search.best < bound and search.exhaust():
        bound = search.best
    return Worst(tuple(sorted(search.chosen)), search.best, bound)


def spectral_bound(holders: Sequence[Sequence[int]], q: int) -> int:
    """The most files that q workers can spoil, by the second eigenvalue (ByzShield, MLSys 2021, Claim 1).

    q of K workers hold at least beta = (q l/r) / (mu + (1 - mu) q/K) files, mu the second eigenvalue of H H^T/(l r),
    and each bad file takes (r+1)/2 - 1 incidences more than one. It is for files of r holders and workers of l files
    each; of others it says no more than that there are so many files.
    """
    workers = sorted({worker for of_one in holders for worker in of_one})
    incidence = np.zeros((len(workers), len(holders)))
    for file, of_one in enumerate(holders):
        incidence[np.searchsorted(workers, of_one), file] = 1
    loads, copies = set(incidence.sum(1).tolist()), set(incidence.sum(0).tolist())
    if len(loads) != 1 or len(copies) != 1 or (r := copies.pop()) < 3:
        return len(holders)
    load, share = loads.pop(), min(1.0, q / len(workers))
    mu = np.linalg.eigvalsh(incidence @ incidence.T)[-2] / (load * r)
    beta = (q * load / r) / (mu + (1 - mu) * share) if q else 0.0
    return min(len(holders), int((q * load - beta) / ((r - 1) / 2) + 1e-9))


class _Search:
    """Sets of q workers; files are bits of an integer, those that lack so many holders of a majority in one each."""

    def __init__(self, holders: Sequence[Sequence[int]], q: int, effort: int) -> None:
        self.best = -1
        self.chosen: tuple[int, ...] = ()
        self._effort = effort
        self._holders = holders
        self._held: dict[int, int] = {}
        needs = [len(of_one) // 2 + 1 for of_one in holders]
        self._start = [0] * (max(needs, default=1) + 1)
        for file, (of_one, need) in enumerate(zip(holders, needs, strict=True)):
            self._start[need] |= 1 << file
            for worker in of_one:
                self._held[worker] = self._held.get(worker, 0) | 1 << file
        self._q = min(q, len(self._held))
        shared = Counter(pair for of_one in holders for pair in combinations(sorted(of_one), 2))
        self._shared = max(shared.values(), default=0)

    def incidences(self) -> int:
        """A bound: the workers with the most files hold so many, of which each bad one takes a majority."""
        most = sorted((mask.bit_count() for mask in self._held.values()), reverse=True)[: self._q]
        bad, left = 0, sum(most)
        for need, files in enumerate(self._start[1:], 1):
            now = min(files.bit_count(), left // need)
            bad, left = bad + now, left - now * need
        return bad

    def pairs(self) -> int:
        """A bound: no two workers share more than so many files, and a bad one takes all pairs of a majority.

        Where workers fall into classes whose members share no file, q workers have most pairs that do if they are
        spread evenly over the classes (Turan).
        """
        if self._start[1]:
            return len(self._holders)
        need = next((need for need, files in enumerate(self._start) if files), 2)
        classes = {
            frozenset([worker, *(other for other, held in self._held.items() if not held & own)])
            for worker, own in self._held.items()
        }
        if sum(map(len, classes)) > len(self._held):  # they are no classes, for some overlap
            classes = {frozenset([worker]) for worker in self._held}
        even = [self._q // len(classes) + (i < self._q % len(classes)) for i in range(len(classes))]
        pairs = comb(self._q, 2) - sum(comb(size, 2) for size in even)
        return min(len(self._holders), self._shared * pairs // comb(need, 2))

    def greedy(self) -> None:
        """Adds the worker that spoils most files, or brings them nearest to it; then swaps as long as that helps."""
        starts = 1 + _EFFORT // (1 + len(self._held) * self._q * self._q)
        for first in list(self._held)[:starts]:
            chosen = [first][: self._q]
            while len(chosen) < self._q:
                lacking = self._lacking(chosen)
                chosen.append(max((w for w in self._held if w not in chosen), key=lambda w: self._gains(lacking, w)))
            self._offer(chosen)
        improved = True
        while improved:
            improved = False
            for out in self.chosen:
                kept = [worker for worker in self.chosen if worker != out]
                lacking = self._lacking(kept)
                new = max((w for w in self._held if w not in kept), key=lambda w: self._gains(lacking, w))
                if self._offer([*kept, new]):
                    improved = True
                    break

    def exhaust(self) -> bool:
        """Searches all sets, but those that a bound rules out; whether the effort was enough."""
        return self._branch([], self._start, list(self._held))

    def _branch(self, chosen: list[int], lacking: list[int], order: list[int]) -> bool:
        left = self._q - len(chosen)
        if not left or len(order) < left:
            self._offer(chosen)
            return True
        self._effort -= len(order)
        if self._effort < 0:
            return False
        bad, one = lacking[0].bit_count(), lacking[1]
        sure = {worker: (self._held[worker] & one).bit_count() for worker in order}
        if left == 1:
            last = max(order, key=sure.__getitem__)
            if bad + sure[last] > self.best:
                self._offer([*chosen, last])
            return True
        # A file that lacks 2 or more takes a pair of those that are to come; and one that lacks d is brought 1/d nearer
        # to a majority by each of them.
        if bad + sum(sorted(sure.values())[-left:]) + self._shared * comb(left, 2) <= self.best:
            return True
        layers = [(files, 1 / d) for d, files in enumerate(lacking[2 : left + 1], 2) if files]
        nearer = {w: sure[w] + sum((self._held[w] & files).bit_count() * part for files, part in layers) for w in order}
        order = sorted(order, key=nearer.__getitem__, reverse=True)
        for i, worker in enumerate(order):
            if bad + int(sum(nearer[w] for w in order[i : i + left]) + 1e-9) <= self.best:
                break
            if not self._branch([*chosen, worker], self._with(lacking, worker), order[i + 1 :]):
                return False
        return True

    def _with(self, lacking: list[int], worker: int) -> list[int]:
        held = self._held[worker]
        return [
            lacking[0] | (lacking[1] & held),
            *(
                (lacking[d] & ~held) | ((lacking[d + 1] if d + 1 < len(lacking) else 0) & held)
                for d in range(1, len(lacking))
            ),
        ]

    def _lacking(self, chosen: Sequence[int]) -> list[int]:
        lacking = self._start
        for worker in chosen:
            lacking = self._with(lacking, worker)
        return lacking

    def _gains(self, lacking: list[int], worker: int) -> tuple[int, ...]:
        """Files that the worker completes, and of those that lack more how many it holds."""
        return tuple((self._held[worker] & files).bit_count() for files in lacking[1:])

    def _offer(self, chosen: Sequence[int]) -> bool:
        """Keeps the workers if they spoil more than the best so far."""
        bad = self._lacking(chosen)[0].bit_count()
        if bad <= self.best:
            return False
        self.best, self.chosen = bad, tuple(chosen)
        return True
