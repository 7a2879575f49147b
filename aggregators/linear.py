"""Inner products and weighted sums of rows, each one pass over the input, summed in float64 (numba)."""

from typing import Any

import numpy as np
from detox.aggregators.vectors import (
    F32,
    F64,
    HALF,
    I32,
    LANES,
    LONG,
    aligned,
    data,
    declare,
    load,
    prefetch,
    read,
    splat,
    store,
)
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

TILE = 512
BLOCK = 4  # rows: sixteen sums and the operands of the next products fit the vector registers
DOUBLES = 8


@intrinsic
def _products(context: Any, tile: Any, i: Any, j: Any, stride: Any, width: Any, sums: Any) -> Any:
    """Add the products of rows i .. i + 3 and j .. j + 3 of the tile to sums (4, 4, 8)."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        _, first, second, step, columns, _ = args
        source, target = data(context, b, args[0], tile), data(context, b, args[5], sums)
        fma = declare(b, "llvm.fma.v8f64", HALF, [HALF, HALF, HALF])

        def at(start: Any, offset: Any) -> Any:
            return b.bitcast(b.gep(start, [offset]), HALF.as_pointer())

        blocks = [at(target, LONG(DOUBLES * k)) for k in range(BLOCK * BLOCK)]
        totals = [cgutils.alloca_once(b, HALF) for _ in blocks]
        for total, block in zip(totals, blocks, strict=True):
            b.store(b.load(block, align=8), total)
        with cgutils.for_range_slice(b, LONG(0), columns, LONG(DOUBLES), intp=LONG) as (t, _):
            rows = [
                [
                    b.load(at(source, b.add(b.mul(b.add(row, LONG(k)), step), t)), align=8)
                    for k in range(BLOCK)
                ]
                for row in (first, second)
            ]
            for k in range(BLOCK * BLOCK):
                x, y = rows[0][k // BLOCK], rows[1][k % BLOCK]
                b.store(b.call(fma, [x, y, b.load(totals[k])]), totals[k])
        for total, block in zip(totals, blocks, strict=True):
            b.store(b.load(total), block, align=8)
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.none(tile, i, j, stride, width, sums), codegen


@njit(nogil=True, cache=True)
def gram(kind: Any, addresses: Any, start: int, stop: int) -> Any:
    """Inner products (n, n) of the rows, over columns start .. stop."""
    n = addresses.size
    blocks = -(-n // BLOCK)
    stride = TILE + DOUBLES  # not a power of two: rows must not share cache sets
    tile = aligned(blocks * BLOCK * stride).reshape(blocks * BLOCK, stride)
    sums = aligned(blocks * blocks * 128).reshape(blocks, blocks, BLOCK, BLOCK, DOUBLES)
    for low in range(start, stop, TILE):
        width = min(TILE, stop - low)
        for i in range(n):
            row = tile[i]
            read(kind, addresses[i], low, width, row)
            row[width:] = 0
        for i in range(blocks):
            for j in range(i, blocks):
                _products(tile, i * BLOCK, j * BLOCK, stride, width, sums[i, j])
    g = np.empty((n, n))
    for i in range(n):
        for j in range(i, n):
            g[i, j] = g[j, i] = sums[i // BLOCK, j // BLOCK, i % BLOCK, j % BLOCK].sum()
    return g


@intrinsic(prefer_literal=True)
def _weighted(context: Any, addresses: Any, weights: Any, count: Any, at: Any, out: Any, blocks: Any) -> Any:
    """Weighted sum of the rows in 16 columns from `at`, times `blocks`, a literal."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        starts, factors = data(context, b, args[0], addresses), data(context, b, args[1], weights)
        fma = declare(b, "llvm.fma.v16f64", F64, [F64, F64, F64])
        columns = [b.add(args[3], LONG(LANES * k)) for k in range(blocks.literal_value)]
        totals = [cgutils.alloca_once_value(b, splat(F64, 0.0)) for _ in columns]
        for total in totals:
            b.store(splat(F64, 0.0), total)
        with cgutils.for_range(b, args[2], intp=LONG) as loop:
            address = b.load(b.gep(starts, [loop.index]))
            lane = b.insert_element(splat(F64, 0.0), b.load(b.gep(factors, [loop.index])), LONG(0))
            factor = b.shuffle_vector(lane, splat(F64, 0.0), splat(I32, 0))
            for at, total in zip(columns, totals, strict=True):
                prefetch(b, address, at, out)
                x = b.fpext(b.bitcast(load(b, address, at, out), F32), F64)
                b.store(b.call(fma, [factor, x, b.load(total)]), total)
        for at, total in zip(columns, totals, strict=True):
            store(b, b.load(total), b.gep(data(context, b, args[4], out), [at]), out)
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.none(addresses, weights, count, at, out, blocks), codegen


@njit(nogil=True, cache=True)
def weighted_sum(addresses: Any, weights: Any, start: int, stop: int, out: Any) -> None:
    """Fill columns start .. stop of out, at least `LANES` of them, with the weighted sum of the rows."""
    n = addresses.size
    wide = stop - (stop - start) % 64
    for at in range(start, wide, 64):
        _weighted(addresses, weights, n, at, out, 4)
    for at in range(wide, stop - 15, 16):
        _weighted(addresses, weights, n, at, out, 1)
    if (stop - start) % 16:
        _weighted(addresses, weights, n, stop - 16, out, 1)


@njit(nogil=True, cache=True)
def sign_sum(addresses: Any, start: int, stop: int, out: Any) -> None:
    """Fill columns start .. stop of out, float32, with the sign of the sum of signs."""
    total, row = np.empty(TILE, np.int32), np.empty(TILE, np.float32)
    for low in range(start, stop, TILE):
        width = min(TILE, stop - low)
        total[:] = 0
        for i in range(addresses.size):
            read(out, addresses[i], low, width, row)
            for t in range(TILE):
                total[t] += np.int32(row[t] > 0) - np.int32(row[t] < 0)
        for t in range(width):
            out[low + t] = np.sign(total[t])
