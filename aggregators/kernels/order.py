"""Order statistics over the rows of each column, at the speed of memory (numba).

Up to `MAX_NETWORK` rows, sixteen columns at a time are sorted in vector registers by a sorting network that
is written as LLVM instructions for that very (n, trim, keep). Above, a loop over the network's comparators
works on a tile in the cache.

Floats are sorted as integers whose order is total: -inf is the least, and every NaN is greater than inf.
"""

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from detox.aggregators.kernels.compiled import compiled
from detox.aggregators.kernels.networks import batcher, local, prune
from detox.aggregators.kernels.vectors import (
    F32,
    F64,
    LANES,
    LONG,
    WORD,
    ahead,
    columns_at_a_time,
    data,
    declare,
    load,
    native_lanes,
    read,
    splat,
    store,
    vector,
)

MAX_NETWORK = 128  # takes a second to compile, once
TILE = 256

SIGN = 0x7FFFFFFF
SHIFT = 0x007FFFFF  # takes -inf to the least integer, so that a NaN with a sign wraps round to the top
INFINITY = 0x7F000001  # the key of +inf


@intrinsic(prefer_literal=True)
def _columns(context: Any, addresses: Any, at: Any, out: Any, n: Any, trim: Any, keep: Any) -> Any:
    """Reduce as many columns from `at` on as a register has lanes; n, trim and keep are literals."""
    rows, cut, nearest = n.literal_value, trim.literal_value, keep.literal_value

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        lanes = native_lanes(context)
        words, singles, doubles = (vector(element, lanes) for element in (WORD, F32.element, F64.element))
        least = declare(b, f"llvm.smin.v{lanes}i32", words, [words, words])
        greatest = declare(b, f"llvm.smax.v{lanes}i32", words, [words, words])

        def flip(v: Any) -> Any:
            return b.xor(b.and_(v, splat(words, SIGN)), b.ashr(v, splat(words, 31)))

        def key(row: int) -> Any:
            address = b.load(b.gep(data(context, b, args[0], addresses), [LONG(row)]))
            return b.sub(flip(load(b, address, args[1], out, lanes)), splat(words, SHIFT))

        def value(key: Any) -> Any:
            return b.bitcast(flip(b.add(key, splat(words, SHIFT))), singles)

        def clamped(i: int) -> Any:
            return value(b.call(least, [keys[i], splat(words, INFINITY)]))

        def total(values: Iterable[Any], first: Any = None) -> Any:
            """In float64 and in order; values are made one by one, so that few wait in registers."""
            wide = (b.fpext(v, doubles) for v in values)
            return functools.reduce(b.fadd, wide if first is None else itertools.chain([first], wide))

        def mean(total: Any, count: int) -> Any:
            return total if count == 1 else b.fdiv(total, splat(doubles, float(count)))

        keys: dict[int, Any] = {}
        for i, j in local(_network(rows, cut, nearest)):
            x, y = (keys[k] if k in keys else key(k) for k in (i, j))  # a row is loaded when its turn comes
            keys[i], keys[j] = b.call(least, [x, y]), b.call(greatest, [x, y])
        keys |= {i: key(i) for i in range(rows) if i not in keys}

        middle, drop = range(cut, rows - cut), rows - nearest
        if not nearest:
            result = mean(total(value(keys[i]) for i in middle), len(middle))
        else:
            stay = range(drop, nearest)  # values that every window of `nearest` sorted ones has
            common = total(map(clamped, stay)) if stay else None
            centre = mean(common if stay == middle else total(value(keys[i]) for i in middle), len(middle))
            twice = b.fadd(centre, centre)
            window = {i: clamped(i) for i in range(rows) if i not in stay}
            for i in range(drop):
                pair = b.fadd(b.fpext(window[i], doubles), b.fpext(window[i + nearest], doubles))
                window[i + nearest] = b.select(b.fcmp_ordered("<", pair, twice), window[i + nearest], window[i])
            result = mean(total((window[i] for i in range(max(drop, nearest), rows)), common), nearest)
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

    @compiled
    def kernel(addresses: Any, start: int, stop: int, out: Any) -> None:
        step, last = columns_at_a_time(), stop - LANES
        for at in range(start, stop, LANES):
            ahead(addresses, at, out)
            at = min(at, last)
            for part in range(at, at + LANES, step):
                _columns(addresses, part, out, n, trim, keep)

    result: Callable[..., None] = kernel
    return result


@functools.cache
def comparators(n: int) -> npt.NDArray[np.int64]:
    """The network for n values, (comparators, 2)."""
    return np.array(batcher(n), np.int64).reshape(-1, 2)


@compiled
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
            for t in range(TILE):
                total[t] = centre[t]
        for t in range(width):
            out[low + t] = total[t]


@compiled
def _mean(tile: Any, first: int, last: int, out: Any) -> None:
    for t in range(out.size):
        out[t] = 0
    for i in range(first, last):
        row = tile[i]
        for t in range(out.size):
            out[t] += np.float64(row[t])
    for t in range(out.size):
        out[t] /= last - first
