"""The operations of `Rows` by numba kernels, for float32 and bfloat16 in main memory."""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt

from detox.aggregators.arrays import Array, Floats, Index
from detox.aggregators.chunks import T, over_chunks
from detox.aggregators.kernels import gram, linear, order
from detox.aggregators.kernels.vectors import LANES
from detox.aggregators.rows import Rows
from detox.aggregators.stored import NARROWEST, Owners
from detox.errors import DetoxError

MOST_ROWS = 512
"""Rows for which kernels are written; above, sorting networks and unrolled sums grow too long."""


def or_plainly(method: Callable[..., T]) -> Callable[..., T]:
    """The operation by its kernel; where that cannot be compiled, from then on as `Rows` has it."""
    plain: Callable[..., T] = getattr(Rows, method.__name__)

    @functools.wraps(method)
    def either(self: "FastRows", *args: Any, **options: Any) -> T:
        if method.__name__ not in _FAILED:
            try:
                return method(self, *args, **options)
            except (DetoxError, MemoryError):
                raise
            except Exception as error:  # what a compiler cannot do it says in many ways
                _FAILED.add(method.__name__)
                reason = str(error).strip().splitlines() or [type(error).__name__]
                what = method.__name__.removesuffix("_parts")
                message = f"no kernel for {what} on this platform, so it takes longer: {reason[0]}"
                warnings.warn(message, RuntimeWarning, stacklevel=2)
        return plain(self, *args, **options)

    return either


_FAILED: set[str] = set()


class FastRows(Rows):
    """`Rows` for which `serves` holds; the votes are not copied."""

    def __init__(self, x: Array, threads: int = 1, index: Index | None = None, owners: Owners | None = None) -> None:
        super().__init__(x, threads, index, owners)
        stored = _stored(x)
        self._kind = np.empty(0, stored.dtype)
        self._addresses = stored.ctypes.data + self.index * stored.strides[0]

    @staticmethod
    def serves(x: Array) -> bool:
        """Whether the kernels can read x: its dtype, not too many rows, columns contiguous and enough."""
        if array_api_compat.is_torch_array(x):
            if x.device.type != "cpu" or str(x.dtype) not in ("torch.float32", "torch.bfloat16"):
                return False
        elif x.dtype != np.float32 or not x.dtype.isnative:
            return False
        if len(x) > MOST_ROWS:
            return False
        stored = _stored(x)
        return bool(x.shape[1] >= NARROWEST and stored.strides[1] == stored.itemsize and stored.flags.aligned)

    @or_plainly
    def gram_parts(self, *extra: Array, precise: bool = False) -> list[Floats]:
        held = [self._same(v) for v in extra]
        addresses = np.append(self._addresses, [v.ctypes.data for v in held]).astype(np.int64)
        kernel = gram.precise if precise else gram.gram

        def products(start: int, stop: int) -> Floats:
            result: Floats = kernel(self._kind, addresses, start, stop)
            return result

        with np.errstate(all="ignore"):
            return list(self._chunks(products))

    @or_plainly
    def squared_norms_parts(self) -> list[Floats]:
        def norms(start: int, stop: int) -> Floats:
            result: Floats = linear.squared_norms(self._kind, self._addresses, start, stop)
            return result

        with np.errstate(all="ignore"):
            return list(self._chunks(norms))

    @or_plainly
    def mix(self, weights: Floats, *extra: Array) -> Array:
        out, held = self.empty(len(weights)), [self._same(v) for v in extra]
        addresses = np.append(self._addresses, [v.ctypes.data for v in held]).astype(np.int64)
        used = [np.flatnonzero(row) for row in weights]
        jobs = [(addresses[u], row[u], t) for u, row, t in zip(used, weights, _stored(out), strict=True)]

        def work(start: int, stop: int) -> None:
            for job, factors, target in jobs:
                linear.weighted_sum(job, factors, _wide_enough(start, stop), stop, target)

        self._each(work)
        return out

    @or_plainly
    def set_means(self, sets: Sequence[Index]) -> Array:
        if self.d < linear.WIDE:
            return super().set_means(sets)
        out, member = self.empty(len(sets)), np.zeros((len(sets), self.n), bool)
        for row, chosen in zip(member, sets, strict=True):
            row[chosen] = True
        shared = 2 * member.sum(axis=0) > len(sets)
        changes = member != shared
        starts = np.concatenate([[0], np.cumsum(changes.sum(axis=1))])
        which, members = np.nonzero(changes)
        scale = np.float32(2.0 ** -self.n.bit_length())  # a sum of rows may be greater than any float32
        signs = np.where(member[which, members], scale, -scale)
        members = np.ascontiguousarray(members)  # the kernel reads by address
        factors = (1 / member.sum(axis=1)).astype(np.float32) / scale
        terms = (self._addresses, shared * scale, starts, members, signs, factors)
        target = _stored(out)
        self._each(lambda start, stop: linear.set_means(*terms, max(0, min(start, stop - linear.WIDE)), stop, target))
        return out

    @or_plainly
    def trimmed_mean(self, trim: int) -> Array:
        return self._reduce(trim, 0, self._addresses) if self._served_by_kernel() else super().trimmed_mean(trim)

    @or_plainly
    def nearest_mean(self, trim: int, keep: int) -> Array:
        if not self._served_by_kernel():
            return super().nearest_mean(trim, keep)
        return self._reduce(trim, keep, self._addresses)

    @or_plainly
    def middle(self) -> list[Array]:
        if not self._served_by_kernel() or self.n == order.MAX_NETWORK:
            return super().middle()
        if self.n % 2:
            return [self.median()]
        pair, end = [], self.empty(1)
        for infinity in (-np.inf, np.inf):  # with one more row, of infinities, the median is one of the middle two
            end[0, :] = infinity
            pair.append(self._reduce(self.n // 2, 0, np.append(self._addresses, _stored(end).ctypes.data)))
        return pair

    @or_plainly
    def sign_sum(self) -> Array:
        return self._fill(linear.sign_sum, self._addresses)

    def _served_by_kernel(self) -> bool:
        return self.n <= order.MAX_NETWORK or self._kind.dtype == np.float32

    def _reduce(self, trim: int, keep: int, addresses: npt.NDArray[np.int64]) -> Array:
        n = len(addresses)
        if not trim and not keep:
            ones = np.ones(n)
            return self._fill(lambda rows, start, stop, out: linear.mean(rows, ones, start, stop, out), addresses)
        if n <= order.MAX_NETWORK:
            return self._fill(order.reduction(n, trim, keep), addresses)
        network = order.comparators(n)
        return self._fill(
            lambda rows, start, stop, out: order.reduce_tiles(rows, start, stop, out, network, trim, keep), addresses
        )

    def _fill(self, kernel: Callable[..., None], addresses: npt.NDArray[np.int64]) -> Array:
        """One output value a column."""
        out = self.empty(1)
        target = _stored(out)[0]
        # Columns do not depend on each other, and a slab in many short calls takes a quarter longer.
        size = self.block if self.threads > 1 else self.d
        for _ in over_chunks(
            lambda start, stop: kernel(addresses, _wide_enough(start, stop), stop, target), self.d, size, self.threads
        ):
            pass
        return out[0, :]

    def _each(self, work: Callable[[int, int], None]) -> None:
        for _ in self._chunks(work):
            pass

    def _chunks(self, work: Callable[[int, int], T]) -> Iterator[T]:
        return over_chunks(work, self.d, self.block, self.threads)

    def _same(self, v: Array) -> npt.NDArray[Any]:
        """A vector (d,) in the votes' dtype, contiguous."""
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(_stored(self.xp.astype(self._vector(v), self.dtype, copy=False)))


def _wide_enough(start: int, stop: int) -> int:
    """Where a chunk starts that fills a vector: a narrow last one does some columns again."""
    return max(0, min(start, stop - LANES))


def _stored(x: Array) -> npt.NDArray[Any]:
    """The array as numpy, in place; bfloat16 as its uint16 bits."""
    if not array_api_compat.is_torch_array(x):
        return np.asarray(x)
    if str(x.dtype) == "torch.bfloat16":
        import torch

        return np.asarray(x.view(torch.int16).numpy()).view(np.uint16)
    return np.asarray(x.numpy())
