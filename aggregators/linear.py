"""Norms and weighted sums of rows, and sums of signs, each one pass over the input (numba)."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from detox.aggregators.vectors import (
    F32,
    F64,
    I16,
    I32,
    LANES,
    LONG,
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
WIDE = 64
"""Columns at a time where many outputs share their loads."""


@njit(nogil=True, cache=True)
def squared_norms(kind: Any, addresses: Any, start: int, stop: int) -> Any:
    """Squared norms (n,), float64, over columns start .. stop."""
    norms, row = np.zeros(addresses.size), np.empty(TILE, np.float32)
    for i in range(addresses.size):
        for low in range(start, stop, TILE):
            width = min(TILE, stop - low)
            read(kind, addresses[i], low, width, row)
            norms[i] += _square(row[:width])
    return norms


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _square(row: Any) -> float:
    total = 0.0
    for t in range(row.size):
        value = np.float64(row[t])
        total += value * value
    return total


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


@intrinsic
def _means(
    context: Any, addresses: Any, shared: Any, starts: Any, members: Any, signs: Any, factors: Any, at: Any, out: Any
) -> Any:
    """Columns at .. at + WIDE - 1 of `set_means`."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        arrays = zip(args[:6], (addresses, shared, starts, members, signs, factors), strict=True)
        rows, common, first, which, sign, factor = (data(context, b, value, kind) for value, kind in arrays)
        target = context.make_array(out)(context, b, args[7])
        base, step = b.ptrtoint(target.data, LONG), b.extract_value(target.strides, 0)
        columns = [b.add(args[6], LONG(LANES * k)) for k in range(WIDE // LANES)]
        fma = declare(b, "llvm.fma.v16f32", F32, [F32, F32, F32])
        totals, sums = ([cgutils.alloca_once(b, F32) for _ in columns] for _ in range(2))

        def item(array: Any, i: Any) -> Any:
            return b.load(b.gep(array, [i]))

        def spread(value: Any) -> Any:
            lane = b.insert_element(splat(F32, 0.0), value, LONG(0))
            return b.shuffle_vector(lane, lane, splat(I32, 0))

        def add(address: Any, weight: Any, into: list[Any]) -> None:
            for column, total in zip(columns, into, strict=True):
                x = b.bitcast(load(b, address, column, out), F32)
                b.store(b.call(fma, [weight, x, b.load(total)]), total)

        for total in totals:
            b.store(splat(F32, 0.0), total)
        count = b.extract_value(context.make_array(addresses)(context, b, args[0]).shape, 0)
        with cgutils.for_range(b, count, intp=LONG) as loop:
            for column in columns:
                prefetch(b, item(rows, loop.index), column, out)
            add(item(rows, loop.index), spread(item(common, loop.index)), totals)
        with cgutils.for_range(b, b.extract_value(target.shape, 0), intp=LONG) as loop:
            for total, result in zip(totals, sums, strict=True):
                b.store(b.load(total), result)
            low, high = item(first, loop.index), item(first, b.add(loop.index, LONG(1)))
            with cgutils.for_range_slice(b, low, high, LONG(1), intp=LONG) as (k, _):
                add(item(rows, item(which, k)), spread(item(sign, k)), sums)
            row, scale = b.add(base, b.mul(loop.index, step)), spread(item(factor, loop.index))
            for column, result in zip(columns, sums, strict=True):
                mean = b.fpext(b.fmul(b.load(result), scale), F64)
                store(
                    b,
                    mean,
                    pointer(b, row, column, out, I16.element if out.dtype == types.uint16 else F32.element),
                    out,
                )
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.none(addresses, shared, starts, members, signs, factors, at, out), codegen


@njit(nogil=True, cache=True)
def set_means(
    addresses: Any, shared: Any, starts: Any, members: Any, signs: Any, factors: Any, start: int, stop: int, out: Any
) -> None:
    """Fill columns start .. stop of out (m, d), at least `WIDE` of them, with means of sets of rows.

    Set r is the rows of weight 1 in `shared`, plus (sign 1) or less (-1) members[starts[r] : starts[r + 1]]; its mean
    is their sum times factors[r].
    """
    for at in range(start, stop - WIDE + 1, WIDE):
        _means(addresses, shared, starts, members, signs, factors, at, out)
    if (stop - start) % WIDE:
        _means(addresses, shared, starts, members, signs, factors, stop - WIDE, out)


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
