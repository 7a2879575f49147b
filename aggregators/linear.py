"""Inner products and weighted sums of rows, each one pass over the input, summed in float64 (numba)."""

import functools
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

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
    pointer,
    prefetch,
    read,
    splat,
    store,
)

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
                [b.load(at(source, b.add(b.mul(b.add(row, LONG(k)), step), t)), align=8) for k in range(BLOCK)]
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
def _weighted(context: Any, addresses: Any, weights: Any, n: Any, at: Any, out: Any) -> Any:
    """Weighted sum of n rows, a literal, in columns at .. at + 15."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        starts, factors = data(context, b, args[0], addresses), data(context, b, args[1], weights)
        fma = declare(b, "llvm.fma.v16f64", F64, [F64, F64, F64])
        total = splat(F64, 0.0)
        for k in range(n.literal_value):
            address = b.load(b.gep(starts, [LONG(k)]))
            prefetch(b, address, args[3], out)
            lane = b.insert_element(splat(F64, 0.0), b.load(b.gep(factors, [LONG(k)])), LONG(0))
            factor = b.shuffle_vector(lane, splat(F64, 0.0), splat(I32, 0))
            x = b.fpext(b.bitcast(load(b, address, args[3], out), F32), F64)
            total = b.call(fma, [factor, x, total])
        store(b, total, b.gep(data(context, b, args[4], out), [args[3]]), out)
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.none(addresses, weights, n, at, out), codegen


@functools.cache
def weighted_sum(n: int) -> Callable[..., None]:
    """A kernel ``(addresses, weights, start, stop, out)`` that fills columns with the weighted sum of n rows.

    It is written for that n: a loop over the rows takes twice the time where there are many.
    """

    @njit(nogil=True, cache=True)
    def kernel(addresses: Any, weights: Any, start: int, stop: int, out: Any) -> None:
        for at in range(start, stop - 15, 16):
            _weighted(addresses, weights, n, at, out)
        if (stop - start) % 16:
            _weighted(addresses, weights, n, stop - 16, out)

    result: Callable[..., None] = kernel
    return result


@intrinsic(prefer_literal=True)
def _product(context: Any, addresses: Any, weights: Any, count: Any, at: Any, out: Any, r: Any, outputs: Any) -> Any:
    """out[r : r + outputs] in 32 columns from `at`; outputs is a literal, weights are transposed."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        starts, factors = data(context, b, args[0], addresses), data(context, b, args[1], weights)
        target = context.make_array(out)(context, b, args[4])
        width = b.extract_value(target.shape, 0)
        fma = declare(b, "llvm.fma.v16f32", F32, [F32, F32, F32])
        columns = [args[3], b.add(args[3], LONG(LANES))]
        rows = range(outputs.literal_value)
        totals = [[cgutils.alloca_once_value(b, splat(F32, 0.0)) for _ in columns] for _ in rows]
        for total in chain(*totals):
            b.store(splat(F32, 0.0), total)
        with cgutils.for_range(b, args[2], intp=LONG) as loop:
            address = b.load(b.gep(starts, [loop.index]))
            x = [b.bitcast(load(b, address, at, out), F32) for at in columns]
            for at in columns:
                prefetch(b, address, at, out)
            first = b.add(b.mul(loop.index, width), args[5])
            for k in rows:
                factor = b.load(b.gep(factors, [b.add(first, LONG(k))]))
                lane = b.insert_element(splat(F32, 0.0), factor, LONG(0))
                w = b.shuffle_vector(lane, splat(F32, 0.0), splat(I32, 0))
                for value, total in zip(x, totals[k], strict=True):
                    b.store(b.call(fma, [w, value, b.load(total)]), total)
        step = b.extract_value(target.strides, 0)
        base = b.ptrtoint(target.data, LONG)
        for k in rows:
            row = b.add(base, b.mul(b.add(args[5], LONG(k)), step))
            for at, total in zip(columns, totals[k], strict=True):
                b.store(b.load(total), pointer(b, row, at, out, F32), align=4)
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.none(addresses, weights, count, at, out, r, outputs), codegen


@njit(nogil=True, cache=True)
def _product_columns(addresses: Any, weights: Any, at: int, out: Any) -> None:
    m, n = out.shape[0], addresses.size
    whole = m - m % 8
    for r in range(0, whole, 8):
        _product(addresses, weights, n, at, out, r, 8)
    for r in range(whole, m):
        _product(addresses, weights, n, at, out, r, 1)


@njit(nogil=True, cache=True)
def product(addresses: Any, weights: Any, start: int, stop: int, out: Any) -> None:
    """Fill columns start .. stop of out (m, d), float32, at least 32, with weights.T (n, m) times the rows."""
    for at in range(start, stop - 31, 32):
        _product_columns(addresses, weights, at, out)
    if (stop - start) % 32:
        _product_columns(addresses, weights, stop - 32, out)


@intrinsic
def _signs(context: Any, addresses: Any, count: Any, at: Any, out: Any) -> Any:
    """Sign of the sum of signs in columns at .. at + 15."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        starts = data(context, b, args[0], addresses)
        total = cgutils.alloca_once(b, I32)
        b.store(splat(I32, 0), total)

        def sign(compare: Any, x: Any, zero: Any) -> Any:
            return b.sub(b.zext(compare(">", x, zero), I32), b.zext(compare("<", x, zero), I32))

        with cgutils.for_range(b, args[1], intp=LONG) as loop:
            address = b.load(b.gep(starts, [loop.index]))
            prefetch(b, address, args[2], out)
            x = b.bitcast(load(b, address, args[2], out), F32)
            b.store(b.add(b.load(total), sign(b.fcmp_ordered, x, splat(F32, 0.0))), total)
        result = b.sitofp(sign(b.icmp_signed, b.load(total), splat(I32, 0)), F64)
        store(b, result, b.gep(data(context, b, args[3], out), [args[2]]), out)
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.none(addresses, count, at, out), codegen


@njit(nogil=True, cache=True)
def sign_sum(addresses: Any, start: int, stop: int, out: Any) -> None:
    """Fill columns start .. stop of out, at least `LANES` of them, with the sign of the sum of signs."""
    for at in range(start, stop - 15, 16):
        _signs(addresses, addresses.size, at, out)
    if (stop - start) % 16:
        _signs(addresses, addresses.size, stop - 16, out)
