"""Sixteen columns at a time, as LLVM instructions: what the numba kernels are built from.

Rows are given by the addresses of their first elements, so that rows of several arrays can be used at once.
`kind` is an empty array that carries their dtype: float32, or uint16 that holds bfloat16.

numba's cache does not see a change in this file: touch `order` and `linear` after one.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

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


def load(b: Any, address: Any, at: Any, kind: types.Array) -> Any:
    """Elements at .. at + 15, as the bits of float32."""
    if kind.dtype == types.uint16:
        half = b.load(pointer(b, address, at, kind, I16), align=2)
        return b.shl(b.zext(half, I32), splat(I32, 16))
    return b.load(pointer(b, address, at, kind, I32), align=4)


def prefetch(b: Any, address: Any, at: Any, kind: types.Array, ahead: int = AHEAD, level: int = 3) -> None:
    """Ask for what `load` will want `ahead` columns later, to cache 1 (level 3) or 2; past the end it is harmless."""
    fetch = declare(b, "llvm.prefetch.p0", ir.VoidType(), [BYTE.as_pointer(), WORD, WORD, WORD])
    b.call(fetch, [pointer(b, address, b.add(at, LONG(ahead)), kind, BYTE), WORD(0), WORD(level), WORD(1)])


def store(b: Any, values: Any, target: Any, kind: types.Array) -> None:
    """Round sixteen float64 to the dtype of `kind`, to nearest even, at the pointer `target`."""
    single = b.fptrunc(values, F32)
    if kind.dtype == types.uint16:
        bits = b.bitcast(single, I32)
        odd = b.and_(b.lshr(bits, splat(I32, 16)), splat(I32, 1))
        rounded = b.lshr(b.add(b.add(bits, splat(I32, 0x7FFF)), odd), splat(I32, 16))
        nan = b.fcmp_unordered("uno", single, single)
        half = b.trunc(b.select(nan, splat(I32, 0x7FC0), rounded), I16)
        b.store(half, b.bitcast(target, I16.as_pointer()), align=2)
    else:
        b.store(single, b.bitcast(target, F32.as_pointer()), align=4)


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


@njit(nogil=True, cache=True)
def aligned(size: int) -> Any:
    """Zeros, float64, that start at a cache line: vectors that straddle two lines load at half the speed."""
    buffer = np.zeros(size + 7)
    skip = (-buffer.ctypes.data % 64) // 8
    return buffer[skip : skip + size]


@njit(nogil=True, cache=True)
def read(kind: Any, address: int, at: int, width: int, row: Any) -> None:
    """row[:width] = elements at .. at + width - 1; row is float32 or float64."""
    whole = width - width % LANES
    for t in range(0, whole, LANES):
        _copy(kind, address, at + t, row, t)
    for t in range(whole, width):
        row[t] = _element(kind, address, at + t)
