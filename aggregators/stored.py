"""The (n, d) votes where they lie: which rows are meant, and how their columns are read, chunk by chunk."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self

import array_api_compat
import numpy as np

from detox.aggregators.arrays import Array, Floats, Index, on_host, served
from detox.aggregators.chunks import over_chunks
from detox.aggregators.errors import AggregatorError

CHUNK = 1 << 22
"""Elements that an operation copies at a time."""
BLOCK = 1 << 18
"""About as many columns of a long vector are a block, and an eighth of them at least: see `block_of`."""
BLOCKS = 24
"""Of long vectors: a multiple of it, so that 2, 3, 4, 6, 8, 12 and 24 owners have equally many."""
SLAB = 1 << 18
"""Columns of a slab: its results stay in the cache until they are used."""
NARROWEST = 16
"""Columns that the kernels need at least."""


def block_of(width: int) -> int:
    """Columns that are summed over before anything is added to the sum, for vectors of that width.

    Owners of votes by columns own whole blocks, and so have the bits of one owner of all. A multiple of 16; the last
    block may have fewer.
    """
    blocks = BLOCKS * max(1, round(width / BLOCKS / BLOCK))
    return max(BLOCK // 8, 16 * math.ceil(width / blocks / 16))


class Owners(Protocol):
    """Those that have the columns of the votes between them: each runs the same rule on its own columns.

    Attributes:
        begin: the first column that is here, where a block begins (`block_of`).
        width: columns of all owners together.
    """

    begin: int
    width: int

    def gather(self, part: Floats) -> Floats:
        """(k, ...) of each owner -> those of all, one behind the other in the order of their columns."""


class Stored:
    """n vectors of dimension d that are read, never changed.

    Args:
        x: (rows, d), floating.
        threads: size of the pool that goes over chunks of columns.
        index: (n,), which rows of x, in this order; all unless given.
        owners: who has other columns of the same vectors; None: nobody, d are all.

    Attributes:
        width: columns, those of other owners among them.
    """

    def __init__(self, x: Array, threads: int = 1, index: Index | None = None, owners: Owners | None = None) -> None:
        self.x = x
        self.xp = array_api_compat.array_namespace(x)
        self.device = array_api_compat.device(x)
        self.dtype = x.dtype if array_api_compat.is_torch_array(x) else x.dtype.newbyteorder("=")
        self.threads = threads
        self.index = np.arange(len(x)) if index is None else index
        self.n, self.d = len(self.index), x.shape[1]
        self.owners = owners
        self.width = self.d if owners is None else owners.width

    @functools.cached_property
    def block(self) -> int:
        """Columns of a block, see `block_of`."""
        return block_of(self.width)

    def select(self, index: Index) -> Self:
        """These of the rows, in this order; nothing is copied."""
        return type(self)(self.x, self.threads, self.index[index], self.owners)

    def columnwise(self, work: Callable[[Self], Array]) -> Array:
        """The vector (d,) that `work` returns, a slab of columns at a time: for what looks at single columns."""
        out = self.empty(1)[0, :]

        def fill(start: int, stop: int) -> None:
            start = max(0, min(start, stop - NARROWEST))
            out[start:stop] = work(type(self)(self.x[:, start:stop], 1, self.index))

        for _ in over_chunks(fill, self.d, SLAB, self.threads):
            pass
        return out

    def empty(self, n: int) -> Array:
        """A new (n, d) array of the votes' library, dtype (in native byte order) and device."""
        return self.xp.empty((n, self.d), dtype=self.dtype, device=self.device)

    def reference(self, name: str, v: Array) -> Array:
        """A vector (d,) that the caller gives; `AggregatorError` unless it is finite, as the votes' dtype too."""
        v = self._vector(v, name)
        with np.errstate(over="ignore"):
            if not self.finite(self.xp.astype(v, self.dtype)):
                raise AggregatorError(f"{name} must be a vector without NaN or infinity")
        return v

    def finite(self, v: Array) -> bool:
        """Whether a vector (d,), and what other owners have of it, holds neither NaN nor infinity."""
        here = self.xp.all(self.xp.isfinite(v))
        return bool(here) if self.owners is None else bool(self.owners.gather(np.array([float(here)])).all())

    def vector(self, v: Floats) -> Array:
        """A vector (width,) from the host as one (d,) of the votes' library, dtype and device."""
        v = v if self.owners is None else v[self.owners.begin : self.owners.begin + self.d]
        return self.xp.astype(self.xp.asarray(v, device=self.device), self.dtype)

    def like(self, x: Array) -> Self:
        """Another array of the same library, dtype and number of columns."""
        return type(self)(x, self.threads, None, self.owners)

    def columns(self, index: Index) -> Floats:
        """The columns of that index, which ascends, (n, len(index)), as float64 on the host."""
        xp, owners = self.xp, self.owners
        if owners is not None:
            index = index[(owners.begin <= index) & (index < owners.begin + self.d)] - owners.begin
        at = xp.asarray(index, device=self.device)
        here = on_host(self._wide(xp.take(xp.take(self.x, at, axis=1), self._at, axis=0)))
        return here if owners is None else np.ascontiguousarray(owners.gather(here.T).T)

    @functools.cached_property
    def _at(self) -> Array:
        return self.xp.asarray(self.index, device=self.device)

    @functools.cached_property
    def _whole(self) -> bool:
        return np.array_equal(self.index, np.arange(len(self.x)))

    def _chunk(self, start: int, stop: int) -> Array:
        part = self.x[:, start:stop]
        return part if self._whole else self.xp.take(part, self._at, axis=0)

    def _chunks(self, work: Any) -> Any:
        return over_chunks(work, self.d, max(1, CHUNK // self.n), self.threads, self.block)

    def _total(self, parts: Iterable[Floats], shape: tuple[int, ...]) -> Floats:
        """The sum of what each chunk comes to, of that shape, in the order of their columns, whoever has them."""
        every = parts if self.owners is None else self.owners.gather(np.stack(list(parts)))
        return sum(every, np.zeros(shape))

    def _wide(self, x: Array) -> Array:
        return self.xp.astype(x, self.xp.float64)

    def _vector(self, v: Array, name: str = "a vector") -> Array:
        v = served(v, name)
        if v.shape != (self.d,):
            raise AggregatorError(f"{name}: a reference vector must have shape ({self.d},), got {tuple(v.shape)}")
        if array_api_compat.is_torch_array(self.x):
            # A copy, for torch takes neither another byte order nor what must not be written.
            v = v if array_api_compat.is_torch_array(v) else v.astype(v.dtype.newbyteorder("="))
            return self.xp.asarray(v, device=self.device)
        return on_host(v) if array_api_compat.is_torch_array(v) else v
