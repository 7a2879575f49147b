"""Sixteen columns at a time, as LLVM instructions: what the numba kernels are built from.

Rows are given by the addresses of their first elements, so that rows of several arrays can be used at once.
`kind` is an empty array that carries their dtype: float32, or uint16 that holds bfloat16.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from detox.aggregators.kernels.compiled import compiled

LANES = 16
AHEAD = 256
"""Columns by which a prefetch runs ahead: the hardware does not follow forty-five streams by itself."""

BYTE, WORD, LONG = ir.IntType(8), ir.IntType(32), ir.IntType(64)
I16 = ir.VectorType(ir.IntType(16), LANES)
I32 = ir.VectorType(WORD, LANES)
F32 = ir.VectorType(ir.FloatType(), LANES)
F64 = ir.VectorType(ir.DoubleType(), LANES)
HALF = ir.VectorType(ir.DoubleType(), LANES // 2)


def splat(kind: ir.VectorType, value: float) -> ir.Constant:
    """The constant in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def spread(b: Any, value: Any, kind: ir.VectorType) -> Any:
    """A value of the moment in every lane."""
    lane = b.insert_element(splat(kind, 0.0), value, LONG(0))
    return b.shuffle_vector(lane, lane, splat(ir.VectorType(WORD, kind.count), 0))


def declare(b: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """An LLVM intrinsic."""
    return cgutils.get_or_insert_function(b.module, ir.FunctionType(result, arguments), name)


def pointer(b: Any, address: Any, at: Any, kind: types.Array, target: Any) -> Any:
    """Pointer to element `at` of the row at `address`."""
    size = 2 if kind.dtype == types.uint16 else 4
    return b.inttoptr(b.add(address, b.mul(at, LONG(size))), target.as_pointer())


def data(context: Any, b: Any, value: Any, kind: types.Array) -> Any:
    """Pointer to a numba array's first element."""
    return context.make_array(kind)(context, b, value).data


def native_lanes(context: Any) -> int:
    """Lanes of float32 in a vector register of the processor that is compiled for."""
    triple, _, features = context.codegen().magic_tuple()
    if triple.startswith(("x86", "i686")):
        return 16 if "+avx512f" in features else 8
    return 4


@intrinsic
def columns_at_a_time(context: Any) -> Any:
    """`native_lanes`, in a kernel."""
    return types.intp(), lambda context, b, signature, args: LONG(native_lanes(context))


@intrinsic
def ahead(context: Any, addresses: Any, at: Any, kind: Any) -> Any:
    """Prefetch columns at .. at + 15 of every row."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        starts = data(context, b, args[0], addresses)
        count = b.extract_value(context.make_array(addresses)(context, b, args[0]).shape, 0)
        with cgutils.for_range(b, count, intp=LONG) as loop:
            prefetch(b, b.load(b.gep(starts, [loop.index])), args[1], kind)
        return ir.Constant(BYTE.as_pointer(), None)

    return types.none(addresses, at, kind), codegen


def vector(element: Any, lanes: int) -> ir.VectorType:
    """So many of them, such as `F32` of another width."""
    return ir.VectorType(element, lanes)


def load(b: Any, address: Any, at: Any, kind: types.Array, lanes: int = LANES) -> Any:
    """Elements at .. at + lanes - 1, as the bits of float32."""
    words = vector(WORD, lanes)
    if kind.dtype == types.uint16:
        half = b.load(pointer(b, address, at, kind, vector(ir.IntType(16), lanes)), align=2)
        return b.shl(b.zext(half, words), splat(words, 16))
    return b.load(pointer(b, address, at, kind, words), align=4)


def prefetch(b: Any, address: Any, at: Any, kind: types.Array, ahead: int = AHEAD, level: int = 3) -> None:
    """Ask for what `load` will want `ahead` columns later, to cache 1 (level 3) or 2; past the end it is harmless."""
    fetch = declare(b, "llvm.prefetch.p0", ir.VoidType(), [BYTE.as_pointer(), WORD, WORD, WORD])
    b.call(fetch, [pointer(b, address, b.add(at, LONG(ahead)), kind, BYTE), WORD(0), WORD(level), WORD(1)])


def store(b: Any, values: Any, target: Any, kind: types.Array) -> None:
    """Round a vector of float64 to the dtype of `kind`, to nearest even, at the pointer `target`."""
    words, halves = (vector(ir.IntType(bits), values.type.count) for bits in (32, 16))
    single = b.fptrunc(values, vector(ir.FloatType(), values.type.count))
    if kind.dtype == types.uint16:
        bits = b.bitcast(single, words)
        odd = b.and_(b.lshr(bits, splat(words, 16)), splat(words, 1))
        rounded = b.lshr(b.add(b.add(bits, splat(words, 0x7FFF)), odd), splat(words, 16))
        nan = b.fcmp_unordered("uno", single, single)
        half = b.trunc(b.select(nan, splat(words, 0x7FC0), rounded), halves)
        b.store(half, b.bitcast(target, halves.as_pointer()), align=2)
    else:
        b.store(single, b.bitcast(target, single.type.as_pointer()), align=4)


@intrinsic
def _element(context: Any, kind: Any, address: Any, at: Any) -> Any:
    """One element of the row, as float32."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        if kind.dtype == types.uint16:
            half = b.load(pointer(b, args[1], args[2], kind, ir.IntType(16)))
            return b.bitcast(b.shl(b.zext(half, WORD), WORD(16)), ir.FloatType())
        return b.load(pointer(b, args[1], args[2], kind, ir.FloatType()))

    return types.float32(kind, address, at), codegen


@intrinsic
def _copy(context: Any, kind: Any, address: Any, at: Any, row: Any, to: Any) -> Any:
    """row[to : to + 16] = elements at .. at + 15, in the row's dtype."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        values = b.bitcast(load(b, args[1], args[2], kind), F32)
        prefetch(b, args[1], args[2], kind)
        target = b.gep(data(context, b, args[3], row), [args[4]])
        if row.dtype == types.float64:
            b.store(b.fpext(values, F64), b.bitcast(target, F64.as_pointer()), align=8)
        else:
            b.store(values, b.bitcast(target, F32.as_pointer()), align=4)
        return ir.Constant(BYTE.as_pointer(), None)

    return types.none(kind, address, at, row, to), codegen


@compiled
def aligned(size: int) -> Any:
    """Zeros, float64, that start at a cache line: vectors that straddle two lines load at half the speed."""
    buffer = np.zeros(size + 7)
    skip = (-buffer.ctypes.data % 64) // 8
    return buffer[skip : skip + size]


@compiled
def read(kind: Any, address: int, at: int, width: int, row: Any) -> None:
    """row[:width] = elements at .. at + width - 1; row is float32 or float64."""
    whole = width - width % LANES
    for t in range(0, whole, LANES):
        _copy(kind, address, at + t, row, t)
    for t in range(whole, width):
        row[t] = _element(kind, address, at + t)
