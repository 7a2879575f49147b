"""Combinatorial designs as assignments: each worker holds several files, and two workers share one file at most.

Worth their cost against Byzantine workers who know who holds what; in secret groups as many votes are bad on average.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, product
from operator import add
from typing import ClassVar

from detox.assignment.assignment import Assignment
from detox.assignment.finite import Field, Ring, prime_powers
from detox.assignment.seeds import stream
from detox.assignment.worst import Worst, worst
from detox.errors.words import counted

Blocks = tuple[tuple[int, ...], ...]

Moduli = tuple[int, ...]
_FILES = 4096  # of a step
_FAMILIES: dict[tuple[int, int], tuple[Moduli, tuple[tuple[Moduli, ...], ...]]] = {
    (21, 5): ((21,), (((3,), (6,), (7,), (12,), (14,)),)),
    (41, 5): ((41,), (((0,), (1,), (4,), (11,), (29,)), ((0,), (2,), (8,), (17,), (22,)))),
    (45, 5): (
        (3, 3, 5),
        (
            ((0, 1, 0), (0, 2, 0), (1, 0, 2), (2, 0, 2), (0, 0, 1)),
            ((2, 1, 0), (1, 2, 0), (2, 2, 2), (1, 1, 2), (0, 0, 1)),
            ((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 0, 4)),
        ),
    ),
}
"""Of (p, r): the moduli of an abelian group, and blocks whose translations are the files."""


class Design(ABC):
    """Files whose r holders are the blocks of a design on p places, which the workers take.

    Where workers are in quarantine their places stay empty, and a file is left out as soon as it lacks two of its
    holders: so a bad vote takes (r+1)/2 Byzantine workers whoever is left.

    Args:
        p: workers.
        r: holders of a file, odd.
        seed: secret, of the places that workers take in each step; None: worker i has place i.

    Attributes:
        blocks: the places of each file.
    """

    needs: ClassVar[str]
    """What p and r have to be, in words."""

    def __init__(self, p: int, r: int, seed: int | None = None) -> None:
        self.blocks = self.build(p, r)
        self._p = p
        self._seed = seed

    @classmethod
    def why_not(cls, p: int, r: int, lazy: bool = False) -> str:
        """Why there is no such design, with the nearest p and r that there are; empty where there is one."""
        if r % 2 == 0:
            return f"r = {r} is even, and a majority vote needs an odd number of holders"
        if lazy:
            return 'copies = "lazy" is for groups that are fixed, random or redrawn; set copies = "all"'
        if r < 3:
            return f"r = {r}: a design needs r = 3 or more; for the vanilla system take another groups"
        if cls.fits(p, r):
            files = cls.files(p, r)
            return f"p = {p} and r = {r}: {files} files in a step are more than {_FILES}" if files > _FILES else ""
        near = [n for n in (_first(range(p - 1, r, -1), cls, r), _first(range(p + 1, 8 * p + 8 * r * r), cls, r)) if n]
        ways = [f"p = {' or '.join(map(str, near))}"] if near else []
        ways += [f"r = {other}" for other in range(3, p, 2) if cls.fits(p, other)][:1]
        take = f"; take {', or '.join(ways)}" if ways else ""
        return f"p = {counted(p, 'worker')} and r = {r}: {cls.needs}{take}"

    @staticmethod
    @abstractmethod
    def files(p: int, r: int, lazy: bool = False) -> int:
        """Files of a step where nobody is in quarantine."""

    @classmethod
    @abstractmethod
    def fits(cls, p: int, r: int) -> bool:
        """Whether there is such a design, r being 3 or more and odd."""

    @staticmethod
    @abstractmethod
    def build(p: int, r: int) -> Blocks:
        """The places of each file, for p and r that fit."""

    def draw(self, step: int, workers: Sequence[int]) -> Assignment:
        """The files that lack no more than one of their holders; these are in ascending order."""
        order = (
            range(self._p) if self._seed is None else stream(self._seed, "groups", step).permutation(self._p).tolist()
        )
        left = frozenset(workers)
        files = (sorted(order[place] for place in block if order[place] in left) for block in self.blocks)
        return Assignment(
            tuple(tuple(file) for file, block in zip(files, self.blocks, strict=True) if len(file) >= len(block) - 1)
        )

    def worst(self, q: int) -> Worst:
        """What q workers can spoil who know the places of all."""
        return worst(self.blocks, min(q, self._p))

    def worst_case(self, q: int, files: int) -> int:
        """The most bad votes, exactly where a search finds them in time, else by a bound; see `worst`."""
        return min(files, self.worst(q).bound)


class Mols(Design):
    """Mutually orthogonal Latin squares (ByzShield, MLSys 2021): p = r l workers, l^2 files, l a worker."""

    needs = "mols needs p = r l, with r at most 1 more than the least prime power in l"

    @staticmethod
    def files(p: int, r: int, lazy: bool = False) -> int:
        """l^2."""
        return (p // r) ** 2

    @classmethod
    def fits(cls, p: int, r: int) -> bool:
        """Whether l = p/r has r - 2 orthogonal squares by fields and their products."""
        return p % r == 0 and p > r and r <= 1 + min(prime**exponent for prime, exponent in prime_powers(p // r))

    @staticmethod
    @cache
    def build(p: int, r: int) -> Blocks:
        """File (i, j) is held by worker a_c i + j of each class c, where differences of these a_c have an inverse.

        The last class, of r = 1 + the least prime power, has worker i.
        """
        side = p // r
        ring = Ring(side)
        return tuple(
            tuple(c * side + (ring.line(c, i, j) if c < ring.apart else i) for c in range(r))
            for i, j in product(range(side), repeat=2)
        )


class Ramanujan(Mols):
    """Cyclic shifts, a Ramanujan graph (ByzShield, MLSys 2021): p = r s workers, s^2 files, s a worker; s is prime."""

    needs = "ramanujan needs p = r s, with a prime s of r or more"

    @classmethod
    def fits(cls, p: int, r: int) -> bool:
        """Whether s = p/r is prime and no less than r: the paper's case 1, and where it is r case 2.

        Both have an edge between worker (c, y) and file (i, x) where y = x + c i mod s, as these squares have.
        """
        return p % r == 0 and p >= r * r and prime_powers(p // r) == [(p // r, 1)]


class Steiner(Design):
    """A Steiner system: every two workers share exactly one file; p (p-1) / (r (r-1)) files."""

    needs = (
        "steiner needs r = 3 and p = 1 or 3 mod 6, or r = 5 and p = 21, 41 or 45, or p = r^2 where r is a prime power"
    )

    @staticmethod
    def files(p: int, r: int, lazy: bool = False) -> int:
        """All pairs of workers, by those in a file."""
        return p * (p - 1) // (r * (r - 1))

    @classmethod
    def fits(cls, p: int, r: int) -> bool:
        """Whether one of the constructions below makes it."""
        return (
            (r == 3 and p % 6 in (1, 3) and p > 3) or (p, r) in _FAMILIES or (p == r * r and len(prime_powers(r)) == 1)
        )

    @staticmethod
    @cache
    def build(p: int, r: int) -> Blocks:
        """Triples by Bose and Skolem; the lines of the affine plane; or all translations of a difference family."""
        if r == 3:
            return tuple(_bose(p // 3) if p % 6 == 3 else _skolem(p // 6))
        return tuple(_plane(r)) if p == r * r else _developed(*_FAMILIES[p, r])


def _first(candidates: range, kind: type[Design], r: int) -> int | None:
    return next((p for p in candidates if kind.fits(p, r)), None)


def _bose(n: int) -> Iterator[tuple[int, ...]]:
    """Triples on 3n points, n odd (Bose 1939)."""
    for i in range(n):
        yield i, n + i, 2 * n + i
    for (i, j), k in product(combinations(range(n), 2), range(3)):
        yield k * n + i, k * n + j, (k + 1) % 3 * n + (n + 1) // 2 * (i + j) % n


def _skolem(t: int) -> Iterator[tuple[int, ...]]:
    """Triples on 6t + 1 points (Skolem 1958)."""
    n = 2 * t
    for i, k in product(range(t), range(3)):
        if k == 0:
            yield i, n + i, 2 * n + i
        yield k * n + t + i, (k + 1) % 3 * n + i, 3 * n
    for (i, j), k in product(combinations(range(n), 2), range(3)):
        half, odd = divmod((i + j) % n, 2)
        yield k * n + i, k * n + j, (k + 1) % 3 * n + half + t * odd


def _plane(r: int) -> Iterator[tuple[int, ...]]:
    """The lines of the affine plane over the field of r elements: y = a x + b, and x = b."""
    field = Field(*prime_powers(r)[0])
    for a, b in product(range(r), repeat=2):
        yield tuple(x * r + field.add(field.multiply(a, x), b) for x in range(r))
    for b in range(r):
        yield tuple(b * r + y for y in range(r))


def _developed(moduli: Moduli, base: Sequence[Sequence[Moduli]]) -> Blocks:
    """All translations of the base blocks, each once; elements are numbered in mixed radix."""

    def number(element: Moduli) -> int:
        value = 0
        for digit, modulus in zip(element, moduli, strict=True):
            value = value * modulus + digit % modulus
        return value

    return tuple(
        dict.fromkeys(
            tuple(sorted(number(tuple(map(add, element, shift))) for element in block))
            for block in base
            for shift in product(*map(range, moduli))
        )
    )
