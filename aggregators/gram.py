"""Inner products of rows about a point among them, by float32 products that float64 sums collect (numba).

Distances between vectors do not depend on the point that is taken off, but their precision does: float32
products are as good as the distances themselves where the point lies among the vectors, and wrong where it lies
far away. So each chunk of columns has a point of its own, the row that is most central in the chunk's first
columns; where it turns out to be far from the centre, the chunk is done again in float64. Each tile of a row is
scaled by a power of two where its values are so large or small that their products leave float32's range.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from detox.aggregators.vectors import (
    BYTE,
    F32,
    HALF,
    I32,
    LANES,
    LONG,
    WORD,
    aligned,
    data,
    declare,
    load,
    prefetch,
    read,
    splat,
)

TILE = 512
BLOCK = 4  # rows: sixteen sums and the operands of the next products fit the vector registers
DOUBLES = 8
SAFE = 40
"""Binary exponents of a tile's greatest value up to which its products need no scale."""
FAR = 16.0
"""A point whose median squared distance is greater than the best row's by this factor is not central."""


@intrinsic(prefer_literal=True)
def _products(
    context: Any,
    tile: Any,
    i: Any,
    j: Any,
    stride: Any,
    width: Any,
    sums: Any,
    scales: Any,
    kind: Any,
    addresses: Any,
    wanted: Any,
    ahead: Any,
    fetch: Any,
) -> Any:
    """Add the products of rows i .. i + 3 and j .. j + 3 of the tile, times their scales, to sums (4, 4, 8).

    In passing ask for row `wanted` from column `ahead` on, if `fetch`, a literal, is 1.
    """
    single = tile.dtype == types.float32
    vector, lanes = (F32, LANES) if single else (HALF, DOUBLES)

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        _, first, second, step, columns, _, _, _, _, wanted, ahead, _ = args
        starts = data(context, b, args[8], addresses)
        coming = b.load(b.gep(starts, [wanted])) if fetch.literal_value else None
        source, target = data(context, b, args[0], tile), data(context, b, args[5], sums)
        powers = data(context, b, args[6], scales)
        fma = declare(b, f"llvm.fma.v{lanes}f{32 if single else 64}", vector, [vector] * 3)
        widest = declare(b, "llvm.fma.v8f64", HALF, [HALF] * 3)

        def at(start: Any, offset: Any, kind: Any) -> Any:
            return b.bitcast(b.gep(start, [offset]), kind.as_pointer())

        totals = [cgutils.alloca_once(b, vector) for _ in range(BLOCK * BLOCK)]
        for total in totals:
            b.store(splat(vector, 0.0), total)
        with cgutils.for_range_slice(b, LONG(0), columns, LONG(lanes), intp=LONG) as (t, _):
            rows = [
                [
                    b.load(at(source, b.add(b.mul(b.add(row, LONG(k)), step), t), vector), align=4 if single else 8)
                    for k in range(BLOCK)
                ]
                for row in (first, second)
            ]
            for k, total in enumerate(totals):
                b.store(b.call(fma, [rows[0][k // BLOCK], rows[1][k % BLOCK], b.load(total)]), total)
            if coming is not None:
                prefetch(b, coming, b.add(ahead, t), kind, 0, 2)

        factors = [[b.load(b.gep(powers, [b.add(row, LONG(k))])) for k in range(BLOCK)] for row in (first, second)]
        low, high = (ir.Constant(ir.VectorType(ir.IntType(32), DOUBLES), list(r)) for r in (range(8), range(8, 16)))
        for k, total in enumerate(totals):
            value = b.load(total)
            if single:
                halves = (b.shuffle_vector(value, value, part) for part in (low, high))
                value = b.fpext(b.fadd(*halves), HALF)
            factor = b.fmul(factors[0][k // BLOCK], factors[1][k % BLOCK])
            lane = b.insert_element(splat(HALF, 0.0), factor, LONG(0))
            factor = b.shuffle_vector(lane, lane, splat(ir.VectorType(ir.IntType(32), DOUBLES), 0))
            block = at(target, LONG(DOUBLES * k), HALF)
            b.store(b.call(widest, [value, factor, b.load(block, align=8)]), block, align=8)
        return ir.Constant(BYTE.as_pointer(), None)

    return types.none(tile, i, j, stride, width, sums, scales, kind, addresses, wanted, ahead, fetch), codegen


@intrinsic
def _less(context: Any, kind: Any, address: Any, point: Any, at: Any, width: Any, row: Any) -> Any:
    """row[:width] = half the row at `address` less half that at `point`; returns the greatest magnitude's bits.

    Halves, since the difference of two float32 can overflow. width is a multiple of 16.
    """

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        _, address, point, at, width, _ = args
        target = data(context, b, args[5], row)
        most = declare(b, f"llvm.umax.v{LANES}i32", I32, [I32, I32])
        top = cgutils.alloca_once_value(b, splat(I32, 0))
        b.store(splat(I32, 0), top)
        half = splat(F32, 0.5)
        with cgutils.for_range_slice(b, LONG(0), width, LONG(LANES), intp=LONG) as (t, _):
            x, y = (b.fmul(b.bitcast(load(b, a, b.add(at, t), kind), F32), half) for a in (address, point))
            difference = b.fsub(x, y)
            b.store(difference, b.bitcast(b.gep(target, [t]), F32.as_pointer()), align=4)
            bits = b.and_(b.bitcast(difference, I32), splat(I32, 0x7FFFFFFF))
            b.store(b.call(most, [b.load(top), bits]), top)
        return b.call(declare(b, f"llvm.vector.reduce.umax.v{LANES}i32", WORD, [I32]), [b.load(top)])

    return types.uint32(kind, address, point, at, width, row), codegen


@njit(nogil=True, cache=True)
def gram(kind: Any, addresses: Any, start: int, stop: int) -> Any:
    """Inner products (n, n), float64, of the rows less a point among them, over columns start .. stop."""
    point = _central(precise(kind, addresses, start, min(start + TILE, stop)))[0]
    g = _about(kind, addresses, start, stop, addresses[point])
    _, medians = _central(g)
    if np.isfinite(medians[point]) and medians[point] <= FAR * medians.min():
        return g
    return precise(kind, addresses, start, stop)


@njit(nogil=True, cache=True)
def _central(g: Any) -> Any:
    """The row of least median squared distance to the others, and these medians; infinite for one with a NaN."""
    n = g.shape[0]
    medians = np.full(n, np.inf)
    squares = np.empty(n)
    for i in range(n):
        for j in range(n):
            s = g[i, i] + g[j, j] - 2 * g[i, j]
            squares[j] = max(s, 0.0) if np.isfinite(s) else np.inf
        if np.isfinite(g[i, i]):
            medians[i] = np.partition(squares, n // 2)[n // 2]
    return np.argmin(medians), medians


@njit(nogil=True, cache=True)
def precise(kind: Any, addresses: Any, start: int, stop: int) -> Any:
    """Inner products (n, n) of the rows, over columns start .. stop, all in float64."""
    n = addresses.size
    blocks = -(-n // BLOCK)
    stride = TILE + DOUBLES  # not a power of two: rows must not share cache sets
    tile = aligned(blocks * BLOCK * stride).reshape(blocks * BLOCK, stride)
    sums = aligned(blocks * blocks * BLOCK * BLOCK * DOUBLES).reshape(blocks, blocks, BLOCK, BLOCK, DOUBLES)
    ones = np.ones(blocks * BLOCK)
    for low in range(start, stop, TILE):
        width = min(TILE, stop - low)
        for i in range(n):
            row = tile[i]
            read(kind, addresses[i], low, width, row)
            row[width:] = 0
        for i in range(blocks):
            for j in range(i, blocks):
                _products(tile, i * BLOCK, j * BLOCK, stride, width, sums[i, j], ones, kind, addresses, 0, low, 0)
    return _symmetric(sums, n)


@njit(nogil=True, cache=True)
def _about(kind: Any, addresses: Any, start: int, stop: int, point: int) -> Any:
    """Inner products (n, n) of the rows less the row at `point`, by float32 products."""
    n = addresses.size
    blocks = -(-n // BLOCK)
    stride = TILE + LANES
    tile = aligned(blocks * BLOCK * stride // 2).view(np.float32).reshape(blocks * BLOCK, stride)
    sums = aligned(blocks * blocks * BLOCK * BLOCK * DOUBLES).reshape(blocks, blocks, BLOCK, BLOCK, DOUBLES)
    scales = np.ones(blocks * BLOCK)
    x, y = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for low in range(start, stop, TILE):
        width = min(TILE, stop - low)
        whole = width - width % LANES
        for i in range(n):
            row = tile[i]
            top = _less(kind, addresses[i], point, low, whole, row)
            if width > whole:
                read(kind, addresses[i], low + whole, width - whole, x)
                read(kind, point, low + whole, width - whole, y)
                row[whole : whole + LANES] = 0
                for t in range(width - whole):
                    row[whole + t] = x[t] * np.float32(0.5) - y[t] * np.float32(0.5)
                top = max(top, (row[whole : whole + LANES].view(np.uint32) & np.uint32(0x7FFFFFFF)).max())
            scales[i] = _scale(row, top)
        asked = 0  # rows of the next tile, one with each block: memory delivers while the block is multiplied
        for i in range(blocks):
            for j in range(i, blocks):
                p, q = i * BLOCK, j * BLOCK
                if asked < n:
                    _products(tile, p, q, stride, width, sums[i, j], scales, kind, addresses, asked, low + TILE, 1)
                    asked += 1
                else:
                    _products(tile, p, q, stride, width, sums[i, j], scales, kind, addresses, 0, 0, 0)
    return _symmetric(sums, n) * 4


@njit(nogil=True, cache=True)
def _scale(row: Any, greatest: int) -> float:
    """Divide the row by the power of two that is returned, so that products of its values stay in range."""
    exponent = int(greatest >> np.uint32(23)) - 127
    if abs(exponent) <= SAFE or exponent == 128 or greatest == 0:
        return 1.0
    exponent = min(max(exponent, -126), 126)
    row *= np.float32(2.0**-exponent)
    return 2.0**exponent


@njit(nogil=True, cache=True)
def _symmetric(sums: Any, n: int) -> Any:
    """The matrix (n, n) from the sums of blocks on and above its diagonal."""
    g = np.empty((n, n))
    for i in range(n):
        for j in range(i, n):
            g[i, j] = g[j, i] = sums[i // BLOCK, j // BLOCK, i % BLOCK, j % BLOCK].sum()
    return g
