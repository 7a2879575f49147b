"""Norms and weighted sums of rows, and sums of signs, each one pass over the input (numba)."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from detox.aggregators.kernels.compiled import compiled
from detox.aggregators.kernels.vectors import (
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
    spread,
    store,
)

WIDE = 64
"""Columns at a time where many outputs share their loads."""


@intrinsic
def _squares(context: Any, kind: Any, address: Any, at: Any, stop: Any) -> Any:
    """Sum of the squares of elements at .. stop - 1 of the row, a multiple of 16 in number, by sixteen sums."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        fma = declare(b, "llvm.fma.v16f64", F64, [F64, F64, F64])
        total = cgutils.alloca_once(b, F64)
        b.store(splat(F64, 0.0), total)
        with cgutils.for_range_slice(b, args[2], args[3], LONG(LANES), intp=LONG) as (t, _):
            x = b.fpext(b.bitcast(load(b, args[1], t, kind), F32), F64)
            prefetch(b, args[1], t, kind)
            b.store(b.call(fma, [x, x, b.load(total)]), total)
        # Without leave to reorder, LLVM adds the lanes one by one, on any processor.
        reduce = declare(b, "llvm.vector.reduce.fadd.v16f64", F64.element, [F64.element, F64])
        return b.call(reduce, [F64.element(0.0), b.load(total)])

    return types.float64(kind, address, at, stop), codegen


@compiled
def squared_norms(kind: Any, addresses: Any, start: int, stop: int) -> Any:
    """Squared norms (n,), float64, over columns start .. stop."""
    norms, rest = np.zeros(addresses.size), np.empty(LANES, np.float32)
    whole = stop - (stop - start) % LANES
    for i in range(addresses.size):
        norms[i] = _squares(kind, addresses[i], start, whole)
        read(kind, addresses[i], whole, stop - whole, rest)
        for t in range(stop - whole):
            norms[i] += np.float64(rest[t]) * np.float64(rest[t])
    return norms


@intrinsic(prefer_literal=True)
def _sum(context: Any, addresses: Any, weights: Any, divide: Any, vectors: Any, at: Any, out: Any) -> Any:
    """Weighted sum of the rows in 16 `vectors` columns from at on; `divide`, a literal, by their number."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        starts, factors = data(context, b, args[0], addresses), data(context, b, args[1], weights)
        fma = declare(b, "llvm.fma.v16f64", F64, [F64, F64, F64])
        columns = [b.add(args[4], LONG(LANES * k)) for k in range(vectors.literal_value)]
        totals = [cgutils.alloca_once(b, F64) for _ in columns]
        for total in totals:
            b.store(splat(F64, -0.0 if divide.literal_value else 0.0), total)
        count = b.extract_value(context.make_array(addresses)(context, b, args[0]).shape, 0)
        with cgutils.for_range(b, count, intp=LONG) as loop:
            address, factor = b.load(b.gep(starts, [loop.index])), spread(b, b.load(b.gep(factors, [loop.index])), F64)
            for column, total in zip(columns, totals, strict=True):
                prefetch(b, address, column, out)
                x = b.fpext(b.bitcast(load(b, address, column, out), F32), F64)
                b.store(b.call(fma, [factor, x, b.load(total)]), total)
        number = spread(b, b.sitofp(count, F64.element), F64)
        for column, total in zip(columns, totals, strict=True):
            result = b.load(total)
            result = b.fdiv(result, number) if divide.literal_value else result
            store(b, result, b.gep(data(context, b, args[5], out), [column]), out)
        return ir.Constant(ir.IntType(8).as_pointer(), None)

    return types.none(addresses, weights, divide, vectors, at, out), codegen


@compiled
def weighted_sum(addresses: Any, weights: Any, start: int, stop: int, out: Any) -> None:
    """Fill columns start .. stop of out, at least `LANES` of them, with the weighted sum of the rows."""
    whole = stop - (stop - start) % (2 * LANES)
    for at in range(start, whole, 2 * LANES):
        _sum(addresses, weights, 0, 2, at, out)
    for at in range(whole, stop, LANES):
        _sum(addresses, weights, 0, 1, min(at, stop - LANES), out)


@compiled
def mean(addresses: Any, ones: Any, start: int, stop: int, out: Any) -> None:
    """Fill columns start .. stop of out, at least `LANES` of them, with the mean of the rows; ones (n,)."""
    whole = stop - (stop - start) % (2 * LANES)
    for at in range(start, whole, 2 * LANES):
        _sum(addresses, ones, 1, 2, at, out)
    for at in range(whole, stop, LANES):
        _sum(addresses, ones, 1, 1, min(at, stop - LANES), out)


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
            add(item(rows, loop.index), spread(b, item(common, loop.index), F32), totals)
        with cgutils.for_range(b, b.extract_value(target.shape, 0), intp=LONG) as loop:
            for total, result in zip(totals, sums, strict=True):
                b.store(b.load(total), result)
            low, high = item(first, loop.index), item(first, b.add(loop.index, LONG(1)))
            with cgutils.for_range_slice(b, low, high, LONG(1), intp=LONG) as (k, _):
                add(item(rows, item(which, k)), spread(b, item(sign, k), F32), sums)
            row, scale = b.add(base, b.mul(loop.index, step)), spread(b, item(factor, loop.index), F32)
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


@compiled
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


@compiled
def sign_sum(addresses: Any, start: int, stop: int, out: Any) -> None:
    """Fill columns start .. stop of out, at least `LANES` of them, with the sign of the sum of signs."""
    for at in range(start, stop - 15, 16):
        _signs(addresses, addresses.size, at, out)
    if (stop - start) % 16:
        _signs(addresses, addresses.size, stop - 16, out)
