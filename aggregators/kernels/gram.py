"""Inner products of rows about a point among them, by float32 products that float64 sums collect (numba).

Distances between vectors do not depend on the point that is taken off, but their precision does: float32
products are as good as the distances themselves where the point lies among the vectors, and wrong where it lies
far away. So each chunk of columns has a point of its own, the row that is most central in the chunk's first
columns; where it turns out to be far from the centre, the chunk is done again in float64. Each tile of a row is
scaled by a power of two where its values are so large or small that their products leave float32's range.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from detox.aggregators.kernels.compiled import compiled
from detox.aggregators.kernels.vectors import (
    BYTE,
    F32,
    F64,
    I32,
    LANES,
    LONG,
    WORD,
    aligned,
    data,
    declare,
    load,
    native_lanes,
    prefetch,
    read,
    splat,
    spread,
    vector,
)

TILE = 512
DOUBLES = 8
SAFE = 40
"""Binary exponents of a tile's greatest value up to which its products need no scale."""
FAR = 16.0
"""A point whose median squared distance is greater than the best row's by this factor is not central."""


def rows_at_a_time(context: Any) -> int:
    """Rows of a block: its sums and the operands of the next products fit the vector registers."""
    return 3 if native_lanes(context) == 8 else 4


@intrinsic
def _block(context: Any) -> Any:
    """`rows_at_a_time`, in a kernel."""
    return types.intp(), lambda context, b, signature, args: LONG(rows_at_a_time(context))


@intrinsic
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
) -> Any:
    """Add the products of rows i .. i + block - 1 and j .. of the tile, times their scales, to sums (block, block, 8).

    In passing ask for row `wanted` from column `ahead` on.
    """
    single = tile.dtype == types.float32

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        _, first, second, step, columns, _, _, _, _, wanted, ahead = args
        block = rows_at_a_time(context)
        element, every, lanes = (
            (F32.element, LANES, native_lanes(context))
            if single
            else (F64.element, DOUBLES, native_lanes(context) // 2)
        )
        part = vector(element, lanes)
        starts = data(context, b, args[8], addresses)
        coming = b.load(b.gep(starts, [wanted]))
        source, target = data(context, b, args[0], tile), data(context, b, args[5], sums)
        powers = data(context, b, args[6], scales)
        pairs = [divmod(k, block) for k in range(block * block)]

        def at(start: Any, offset: Any, kind: Any) -> Any:
            return b.bitcast(b.gep(start, [offset]), kind.as_pointer())

        def add(kind: Any, x: Any, y: Any, total: Any) -> Any:
            name = f"llvm.fma.v{kind.count}f{32 if kind.element == F32.element else 64}"
            return b.call(declare(b, name, kind, [kind] * 3), [x, y, total])

        passes = []
        for offset in range(0, every, lanes):
            totals = [cgutils.alloca_once_value(b, splat(part, 0.0)) for _ in pairs]
            for total in totals:
                b.store(splat(part, 0.0), total)
            with cgutils.for_range_slice(b, LONG(0), columns, LONG(every), intp=LONG) as (t, _):
                here = b.add(t, LONG(offset))
                rows = [
                    [
                        b.load(
                            at(source, b.add(b.mul(b.add(row, LONG(k)), step), here), part), align=4 if single else 8
                        )
                        for k in range(block)
                    ]
                    for row in (first, second)
                ]
                for (x, y), total in zip(pairs, totals, strict=True):
                    b.store(add(part, rows[0][x], rows[1][y], b.load(total)), total)
                if not offset:
                    prefetch(b, coming, b.add(ahead, t), kind, 0, 2)
            passes.append(totals)

        factors = [[b.load(b.gep(powers, [b.add(row, LONG(k))])) for k in range(block)] for row in (first, second)]
        for k, (x, y) in enumerate(pairs):
            values = [b.load(totals[k]) for totals in passes]
            if single and lanes == LANES:
                low, high = (ir.Constant(vector(WORD, DOUBLES), list(range(c, c + DOUBLES))) for c in (0, DOUBLES))
                values = [b.shuffle_vector(values[0], values[0], half) for half in (low, high)]
            if single:
                middle = len(values) // 2
                values = [b.fadd(v, w) for v, w in zip(values[:middle], values[middle:], strict=True)]
            factor = b.fmul(factors[0][x], factors[1][y])
            for i, value in enumerate(values):
                wide = vector(F64.element, value.type.count)
                value = b.fpext(value, wide) if single else value
                place = at(target, LONG(DOUBLES * k + i * wide.count), wide)
                b.store(add(wide, value, spread(b, factor, wide), b.load(place, align=8)), place, align=8)
        return ir.Constant(BYTE.as_pointer(), None)

    return types.none(tile, i, j, stride, width, sums, scales, kind, addresses, wanted, ahead), codegen


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


def gram(kind: Any, addresses: Any, start: int, stop: int) -> npt.NDArray[np.float64]:
    """Inner products (n, n), float64, of the rows less a point among them, over columns start .. stop."""
    point = _medians(precise(kind, addresses, start, min(start + TILE, stop))).argmin()
    g: npt.NDArray[np.float64] = 4 * _about(kind, addresses, start, stop, addresses[point])
    medians = _medians(g)
    if np.isfinite(medians[point]) and medians[point] <= FAR * medians.min():
        return g
    return precise(kind, addresses, start, stop)  # type: ignore[no-any-return]


@compiled
def _symmetric(sums: Any, n: int) -> Any:
    """The matrix (n, n) from the sums of blocks on and above its diagonal, (blocks, blocks, block, block, 8)."""
    g, block = np.empty((n, n)), sums.shape[2]
    for i in range(n):
        for j in range(i, n):
            part = sums[i // block, j // block, i % block, j % block]
            total = part[0]
            for k in range(1, DOUBLES):
                total += part[k]
            g[i, j] = g[j, i] = total
    return g


@compiled
def _medians(g: Any) -> Any:
    """Each row's median squared distance to the others, (n,); infinite for one with a NaN."""
    n = len(g)
    medians, squares = np.full(n, np.inf), np.empty(n)
    for i in range(n):
        if np.isfinite(g[i, i]):
            for j in range(n):
                square = g[i, i] + g[j, j] - 2 * g[i, j]
                squares[j] = max(square, 0.0) if np.isfinite(square) else np.inf
            medians[i] = np.sort(squares)[n // 2]
    return medians


@compiled
def precise(kind: Any, addresses: Any, start: int, stop: int) -> Any:
    """Inner products (n, n) of the rows, over columns start .. stop, all in float64."""
    n = addresses.size
    block = _block()
    blocks = -(-n // block)
    stride = TILE + DOUBLES  # not a power of two: rows must not share cache sets
    tile = aligned(blocks * block * stride).reshape(blocks * block, stride)
    sums = aligned(blocks * blocks * block * block * DOUBLES).reshape(blocks, blocks, block, block, DOUBLES)
    ones = np.ones(blocks * block)
    for low in range(start, stop, TILE):
        width = min(TILE, stop - low)
        for i in range(n):
            row = tile[i]
            read(kind, addresses[i], low, width, row)
            for t in range(width, stride):
                row[t] = 0
        asked = 0  # rows of the next tile, one with each block: memory delivers while the block is multiplied
        for i in range(blocks):
            for j in range(i, blocks):
                p, q, wanted = i * block, j * block, min(asked, n - 1)
                _products(tile, p, q, stride, width, sums[i, j], ones, kind, addresses, wanted, low + TILE)
                asked += 1
    return _symmetric(sums, n)


@compiled
def _about(kind: Any, addresses: Any, start: int, stop: int, point: int) -> Any:
    """Quarters of what `precise` gives, of the rows less the row at `point`, by float32 products."""
    n = addresses.size
    block = _block()
    blocks = -(-n // block)
    stride = TILE + LANES
    tile = aligned(blocks * block * stride // 2).view(np.float32).reshape(blocks * block, stride)
    sums = aligned(blocks * blocks * block * block * DOUBLES).reshape(blocks, blocks, block, block, DOUBLES)
    scales = np.ones(blocks * block)
    x, y = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    for low in range(start, stop, TILE):
        width = min(TILE, stop - low)
        whole = width - width % LANES
        for i in range(n):
            row = tile[i]
            top = _less(kind, addresses[i], point, low, whole, row)
            if width > whole:
                read(kind, addresses[i], low + whole, width - whole, x)
                read(kind, point, low + whole, width - whole, y)
                top = max(top, _less(x, x.ctypes.data, y.ctypes.data, 0, LANES, row[whole:]))
            scales[i] = _scale(row, top)
        asked = 0  # rows of the next tile, one with each block: memory delivers while the block is multiplied
        for i in range(blocks):
            for j in range(i, blocks):
                p, q, wanted = i * block, j * block, min(asked, n - 1)
                _products(tile, p, q, stride, width, sums[i, j], scales, kind, addresses, wanted, low + TILE)
                asked += 1
    return _symmetric(sums, n)


@compiled
def _scale(row: Any, greatest: int) -> float:
    """Divide the row by the power of two that is returned, so that products of its values stay in range."""
    exponent = int(greatest >> np.uint32(23)) - 127
    if abs(exponent) <= SAFE or exponent == 128 or greatest == 0:
        return 1.0
    exponent = min(max(exponent, -126), 126)
    factor = np.float32(2.0**-exponent)
    for t in range(row.size):
        row[t] *= factor
    return 2.0**exponent
