"""How several servers share a vector: each owns a range of whole blocks, so that sums have the bits of one server's."""

from dataclasses import dataclass
from itertools import pairwise

from detox.aggregators.errors import AggregatorError
from detox.aggregators.stored import block_of

NARROWEST = 64
"""Columns of a gradient in a share, at least: every kernel takes as many."""


@dataclass(frozen=True)
class Share:
    """The entries begin..end of a vector, of whose entries the first `trained` are a gradient.

    Attributes:
        begin, end: of the vector's d + b entries.
        trained: d, of the whole vector.
    """

    begin: int
    end: int
    trained: int

    @property
    def d(self) -> int:
        """Entries of the gradient in it."""
        return min(self.end, self.trained) - self.begin

    @property
    def b(self) -> int:
        """Entries behind the gradient in it."""
        return self.end - self.begin - self.d

    @property
    def range(self) -> slice:
        """Where it is."""
        return slice(self.begin, self.end)


def shares(d: int, b: int, servers: int) -> tuple[Share, ...]:
    """The share of each server of vectors with d + b entries; the last has all b, which are voted on by themselves.

    Raises:
        AggregatorError: there are more servers than blocks.
    """
    found = _cut(d, b, servers)
    if found is None:
        most = next(s for s in range(servers - 1, 0, -1) if _cut(d, b, s) is not None)
        raise AggregatorError(
            f"servers = {servers}: each owns whole blocks of {block_of(d)} parameters, and d = {d} are enough for "
            f"{most}"
        )
    return found


def _cut(d: int, b: int, servers: int) -> tuple[Share, ...] | None:
    """The shares, as equal as blocks can be; None where one would be too narrow."""
    block = block_of(d)
    borders = [0, *(block * round(d * k / servers / block) for k in range(1, servers)), d]
    widths = [end - begin for begin, end in pairwise(borders)]
    if servers > 1 and min(widths) < NARROWEST:
        return None
    borders[-1] += b
    return tuple(Share(begin, end, d) for begin, end in pairwise(borders))
