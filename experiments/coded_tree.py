"""CodedReduce (Reisizadeh et al., arXiv 1902.01981): who computes what in a tree, and when a parent has its sum.

Every node has n children, in L layers below the root, which is the PS. Blocks of s + 1 siblings compute the same points
of the data, so that a parent can do without s of each. All pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from detox.errors import UserError
from detox.errors.words import counted
from detox.wire import claim_of


class TreeError(UserError):
    """There is no such tree; the message says what to do."""


@dataclass(frozen=True)
class Tree:
    """A tree of ranks; the root is 0, and the children of i are n i + 1 ... n i + n.

    Args:
        n: children of each node.
        layers: L, below the root.
        s: stragglers that a block of siblings may have.

    Raises:
        TreeError: the children cannot be split into blocks of s + 1.
    """

    n: int
    layers: int
    s: int

    def __post_init__(self) -> None:
        if self.n < 1 or self.layers < 1 or self.s < 0:
            raise TreeError(f"n = {self.n}, layers = {self.layers}, s = {self.s}: a tree takes 1, 1 and 0 or more")
        if self.n % (self.s + 1):
            raise TreeError(
                f"n = {self.n} children cannot be split into blocks of s + 1 = {self.s + 1}; take "
                f"n = {self.n // (self.s + 1) * (self.s + 1) or self.s + 1}"
            )

    @property
    def workers(self) -> int:
        """N = n + ... + n^L."""
        return sum(self.n**layer for layer in range(1, self.layers + 1))

    @property
    def parts(self) -> int:
        """beta + ... + beta^L of equal size, beta = n/(s + 1) blocks: what the data are split into."""
        blocks = self.n // (self.s + 1)
        return sum(blocks**layer for layer in range(1, self.layers + 1))

    @property
    def load(self) -> Fraction:
        """The share of the data that each worker computes."""
        return Fraction(1, self.parts)

    def parent(self, node: int) -> int:
        """Of a node that is not the root."""
        return (node - 1) // self.n

    def blocks(self, node: int) -> tuple[tuple[int, ...], ...]:
        """The children of a node, in blocks that compute the same; none for a leaf."""
        first, size = self.n * node + 1, self.s + 1
        if first > self.workers:
            return ()
        return tuple(tuple(range(start, start + size)) for start in range(first, first + self.n, size))

    def own(self, node: int, points: int) -> range:
        """The points that a worker computes itself: the first of those that it has for itself and all below it.

        Args:
            node: from 1.
            points: of the data, in all.

        Raises:
            TreeError: they cannot be split.
        """
        if points % self.parts:
            raise TreeError(
                f"{counted(points, 'point')} cannot be split into {self.parts} equal parts; take a multiple of that"
            )
        load = points // self.parts
        return self._below(node, points, load)[:load]

    def _below(self, node: int, points: int, load: int) -> range:
        """The points of a node and of all below it."""
        if node == 0:
            return range(points)
        parent = self.parent(node)
        left = self._below(parent, points, load)[load if parent else 0 :]
        size = len(left) // (self.n // (self.s + 1))
        block = (node - 1) % self.n // (self.s + 1)
        return left[block * size : (block + 1) * size]


PATIENCE = 5.0
"""Seconds for a sum that was asked for; after these another child is asked as well."""


@dataclass
class Gather:
    """What a node has of its children in one step.

    Without digests the first sum of a block is taken. With them a child claims the digest of its sum first, and what a
    strict majority of its block claims is fetched, from one of these: (r - 1)/2 of r = s + 1 may be Byzantine. One that
    delivers something else, or nothing for `patience` seconds, is passed over for the next of the majority.

    Args:
        blocks: the children.
        size: entries of a sum, d.
        digests: whether children claim first.
        patience: seconds for a sum that was asked for, until another child is asked, too.

    Attributes:
        sums: by block, (d,) float32.
    """

    blocks: Sequence[Sequence[int]]
    size: int
    digests: bool
    patience: float = PATIENCE
    sums: dict[int, np.ndarray] = field(default_factory=dict)
    _claims: dict[int, bytes] = field(default_factory=dict)
    _asked: dict[int, list[int]] = field(default_factory=dict)  # by block, who is to deliver
    _until: dict[int, float] = field(default_factory=dict)  # by block, when another is asked

    @property
    def complete(self) -> bool:
        """Whether there is a sum of every block."""
        return len(self.sums) == len(self.blocks)

    def claim(self, child: int, digest: bytes) -> None:
        """Takes note of a child's first claim."""
        self._claims.setdefault(child, digest)

    def wanted(self, now: float) -> list[int]:
        """Whose sums are to be asked for now, of blocks with a majority; each is named once.

        Args:
            now: seconds on a monotonic clock.
        """
        found = []
        for block, children in enumerate(self.blocks):
            asked = self._asked.setdefault(block, [])
            left = [child for child in self._agreed(children) if child not in asked]
            if block not in self.sums and left and now >= self._until.get(block, now):
                asked.append(left[0])
                found.append(left[0])
                self._until[block] = now + self.patience
        return found

    def take(self, child: int, payload: bytes | memoryview) -> None:
        """Takes the bytes of a child's sum; of one that was not asked, or is no such sum or not as claimed, nothing."""
        block = next(index for index, children in enumerate(self.blocks) if child in children)
        if block in self.sums or (self.digests and child not in self._asked.get(block, ())):
            return
        vector = np.frombuffer(payload, np.float32) if len(payload) == 4 * self.size else None
        if self.digests and (vector is None or claim_of(vector) != self._claims[child]):
            self._until.pop(block, None)
        elif vector is not None:
            self.sums[block] = vector

    def total(self, own: np.ndarray) -> np.ndarray:
        """(d,) float32: the node's own sum and those of all blocks, added in the order of the blocks."""
        total = own.copy()
        for block in range(len(self.blocks)):
            total += self.sums[block]
        return total

    def missing(self) -> str:
        """Why it is not complete, in words."""
        size = len(self.blocks[0])
        left = [
            f"children {', '.join(map(str, children))}"
            for block, children in enumerate(self.blocks)
            if block not in self.sums
        ]
        need = (
            f"{size // 2 + 1} of a block's {size} have to claim the same sum and deliver it"
            if self.digests
            else f"a block can do without s = {size - 1} of its {size}, not without all"
        )
        return f"there is no sum from {' nor from '.join(left)}: {need}" if left else ""

    def _agreed(self, children: Sequence[int]) -> list[int]:
        """The strict majority of a block that claims the same; empty where there is none."""
        by_digest: dict[bytes, list[int]] = {}
        for child in children:
            if child in self._claims:
                by_digest.setdefault(self._claims[child], []).append(child)
        return next((same for same in by_digest.values() if 2 * len(same) > len(children)), [])
