"""Order statistics over the rows of each column, at the speed of memory (numba).

Up to `MAX_NETWORK` rows, sixteen columns at a time are sorted in vector registers by a sorting network that
is written as LLVM instructions for that very (n, trim, keep). Above, a loop over the network's comparators
works on a tile in the cache.

Floats are sorted as integers whose order is total: -inf is the least, and every NaN is greater than inf.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from detox.aggregators.networks import batcher, prune
from detox.aggregators.vectors import (
    F32,
    F64,
    I32,
    LANES,
    LONG,
    data,
    declare,
    load,
    prefetch,
    read,
    splat,
    store,
)

MAX_NETWORK = 128  # takes two seconds to compile, once
TILE = 256

SIGN = 0x7FFFFFFF
SHIFT = 0x007FFFFF  # takes -inf to the least integer, so that a NaN with a sign wraps round to the top
INFINITY = 0x7F000001  # the key of +inf


@intrinsic(prefer_literal=True)
def _columns(context: Any, addresses: Any, at: Any, out: Any, n: Any, trim: Any, keep: Any) -> Any:
    """Reduce columns at .. at + 15; n, trim and keep are literals."""
    rows, cut, nearest = n.literal_value, trim.literal_value, keep.literal_value

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        least = declare(b, f"llvm.smin.v{LANES}i32", I32, [I32, I32])
        greatest = declare(b, f"llvm.smax.v{LANES}i32", I32, [I32, I32])

        def flip(v: Any) -> Any:
            return b.xor(v, b.and_(b.ashr(v, splat(I32, 31)), splat(I32, SIGN)))

        def value(key: Any) -> Any:
            return b.fpext(b.bitcast(flip(b.add(key, splat(I32, SHIFT))), F32), F64)

        def mean(values: list[Any]) -> Any:
            total = functools.reduce(b.fadd, values)
            return total if len(values) == 1 else b.fdiv(total, splat(F64, float(len(values))))

        starts = data(context, b, args[0], addresses)
        keys = []
        for i in range(rows):
            address = b.load(b.gep(starts, [LONG(i)]))
            prefetch(b, address, args[1], out)
            keys.append(b.sub(flip(load(b, address, args[1], out)), splat(I32, SHIFT)))

        for i, j in _network(rows, cut, nearest):
            keys[i], keys[j] = b.call(least, [keys[i], keys[j]]), b.call(greatest, [keys[i], keys[j]])

        result = mean([value(keys[i]) for i in range(cut, rows - cut)])
        if nearest:
            values = [value(b.call(least, [key, splat(I32, INFINITY)])) for key in keys]
            twice = b.fadd(result, result)
            for i in range(rows - nearest):
                nearer = b.fcmp_ordered("<", b.fadd(values[i], values[i + nearest]), twice)
                values[i + nearest] = b.select(nearer, values[i + nearest], values[i])
            result = mean(values[rows - nearest :])
        store(b, result, b.gep(data(context, b, args[2], out), [args[1]]), out)
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.none(addresses, at, out, n, trim, keep), codegen


def _network(n: int, trim: int, keep: int) -> list[tuple[int, int]]:
    """The comparators that the reduction needs."""
    middle = range(trim, n - trim)
    if keep:
        moved = set(range(n - keep)) | set(range(keep, n))
        return prune(batcher(n), moved | set(middle), range(n))
    return prune(batcher(n), (), middle) if len(middle) > 1 else prune(batcher(n), middle)


@functools.cache
def reduction(n: int, trim: int, keep: int) -> Callable[..., None]:
    """A kernel ``(addresses, start, stop, out)`` for `Rows.trimmed_mean` (keep = 0) or `Rows.nearest_mean`.

    It fills columns start .. stop of out, at least `LANES` of them.
    """

    @njit(nogil=True, cache=True)
    def kernel(addresses: Any, start: int, stop: int, out: Any) -> None:
        for at in range(start, stop - 15, 16):
            _columns(addresses, at, out, n, trim, keep)
        if (stop - start) % 16:
            _columns(addresses, stop - 16, out, n, trim, keep)

    result: Callable[..., None] = kernel
    return result


@functools.cache
def comparators(n: int) -> npt.NDArray[np.int64]:
    """The network for n values, (comparators, 2)."""
    return np.array(batcher(n), np.int64).reshape(-1, 2)


@njit(nogil=True, cache=True)
def reduce_tiles(addresses: Any, start: int, stop: int, out: Any, network: Any, trim: int, keep: int) -> None:
    """What `reduction` does, for any number of rows; out is float32."""
    n = addresses.size
    tile = np.empty((n, TILE + 16), np.float32)  # not a power of two apart: rows must not share cache sets
    keys = tile.view(np.int32)
    centre, total = np.empty(TILE), np.empty(TILE)
    for low in range(start, stop, TILE):
        width = min(TILE, stop - low)
        for i in range(n):
            row, bits = tile[i], keys[i]
            read(out, addresses[i], low, width, row)
            for t in range(TILE):
                bits[t] = (bits[t] ^ ((bits[t] >> 31) & SIGN)) - SHIFT
        for c in range(network.shape[0]):
            a, b = keys[network[c, 0]], keys[network[c, 1]]
            for t in range(TILE):
                x, y = a[t], b[t]
                a[t], b[t] = min(x, y), max(x, y)
        for i in range(n):
            bits = keys[i]
            for t in range(TILE):
                key = (min(bits[t], INFINITY) if keep > 0 else bits[t]) + SHIFT
                bits[t] = key ^ ((key >> 31) & SIGN)
        _mean(tile, trim, n - trim, centre)
        if keep > 0:
            for i in range(n - keep):
                row, other = tile[i], tile[i + keep]
                for t in range(TILE):
                    x, y = row[t], other[t]
                    other[t] = y if np.float64(x) + np.float64(y) < 2 * centre[t] else x
            _mean(tile, n - keep, n, total)
        else:
            total[:] = centre
        for t in range(width):
            out[low + t] = total[t]


@njit(nogil=True, cache=True)
def _mean(tile: Any, first: int, last: int, out: Any) -> None:
    out[:] = 0
    for i in range(first, last):
        row = tile[i]
        for t in range(out.size):
            out[t] += np.float64(row[t])
    out /= last - first
