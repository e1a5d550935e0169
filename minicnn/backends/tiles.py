"""Register tiles: blocks of vectors that stay in registers while a matrix product is summed.

A product of matrices reaches the machine's peak if its innermost loop keeps a block of the result (a *tile*) in
registers: MR rows of NV vectors. One step over k then loads NV vectors of b and MR numbers of a, and makes MR*NV
multiply-adds of them::

                    b[k]:  | vector 0 | vector 1 |            tile[i][v] += a[i, k] * b[k, v]
        a[0, k] ->         | tile 0 0 | tile 0 1 |
        a[1, k] ->         | tile 1 0 | tile 1 1 |            8 x 2 vectors: 10 loads for 16 multiply-adds
        ...                     ...                           = 512 floating point operations

For Numba a tile is a plain tuple of vectors (`simd.py`); LLVM keeps small tuples in registers.

**Words.** `a`, `b`, `c` are contiguous 1-D arrays, `ia`, `ib`, `ic` positions in them, `lda`, `ldc` the distance from
row to row. MR and NV are literal integers (`literally`).

    tile_zero(MR, NV, c)                       all zeros
    tile_load(MR, NV, c, ic, ldc)              tile[i][v] = c[ic + i*ldc + v*lanes : + lanes]
    tile_fma(MR, NV, tile, a, ia, lda, b, ib)  tile[i][v] += a[ia + i*lda] * b[ib + v*lanes : + lanes]
    tile_add(MR, NV, tile, c, ic, ldc)         tile[i][v] += c[...]; with ldc = 0 one row (a bias) is added to all
    tile_relu(tile)
    tile_store(MR, NV, tile, c, ic, ldc)       c[...] = tile[i][v]
    tile_stream(MR, NV, tile, c, ic, ldc)      the same past the caches, where c lies aligned
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.backends.simd import Emit, vector_of


def _tile(array: types.Array, mr: Any, nv: Any) -> types.UniTuple:
    return types.UniTuple(vector_of(array), mr.literal_value * nv.literal_value)


@intrinsic(prefer_literal=True)
def tile_zero(typing: Any, MR: Any, NV: Any, c: Any) -> Any:
    tile = _tile(c, MR, NV)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, tile, [Emit(context, builder).zero(tile.dtype)] * tile.count)

    return tile(MR, NV, c), code


@intrinsic(prefer_literal=True)
def tile_load(typing: Any, MR: Any, NV: Any, c: Any, ic: Any, ldc: Any) -> Any:
    tile = _tile(c, MR, NV)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        start = emit.pointer(c, args[2], args[3])
        places = emit.tile_rows(NV.literal_value, tile.count, start, args[4], tile.dtype)
        return context.make_tuple(builder, tile, [emit.load(tile.dtype, place) for place in places])

    return tile(MR, NV, c, types.intp, types.intp), code


@intrinsic(prefer_literal=True)
def tile_fma(
    typing: Any,
    MR: Any,
    NV: Any,
    tile: Any,
    a: Any,
    ia: Any,
    lda: Any,
    b: Any,
    ib: Any,
) -> Any:
    nv, vector = NV.literal_value, tile.dtype

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        _, _, values, a_array, ia_, lda_, b_array, ib_ = args
        column, row = emit.pointer(a, a_array, ia_), emit.pointer(b, b_array, ib_)
        vectors = [emit.load(vector, emit.after(row, ia_.type, v * vector.lanes)) for v in range(nv)]
        result = list(cgutils.unpack_tuple(builder, values))
        for i in range(tile.count // nv):
            number = emit.splat(vector, builder.load(emit.row(column, lda_, i)))
            for v in range(nv):
                result[i * nv + v] = emit.fma(vector, number, vectors[v], result[i * nv + v])
        return context.make_tuple(builder, tile, result)

    return tile(MR, NV, tile, a, types.intp, types.intp, b, types.intp), code


@intrinsic(prefer_literal=True)
def tile_add(typing: Any, MR: Any, NV: Any, tile: Any, c: Any, ic: Any, ldc: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        start = emit.pointer(c, args[3], args[4])
        places = emit.tile_rows(NV.literal_value, tile.count, start, args[5], tile.dtype)
        values = zip(cgutils.unpack_tuple(builder, args[2]), places, strict=True)
        return context.make_tuple(
            builder, tile, [builder.fadd(value, emit.load(tile.dtype, place)) for value, place in values]
        )

    return tile(MR, NV, tile, c, types.intp, types.intp), code


@intrinsic
def tile_relu(typing: Any, tile: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        values = cgutils.unpack_tuple(builder, args[0])
        return context.make_tuple(builder, tile, [emit.relu(tile.dtype, value) for value in values])

    return tile(tile), code


def _storing(past: bool) -> Any:
    def store(typing: Any, MR: Any, NV: Any, tile: Any, c: Any, ic: Any, ldc: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = Emit(context, builder)
            start = emit.pointer(c, args[3], args[4])
            places = emit.tile_rows(NV.literal_value, tile.count, start, args[5], tile.dtype)
            for value, place in zip(cgutils.unpack_tuple(builder, args[2]), places, strict=True):
                emit.store(tile.dtype, value, place, past)
            return context.get_dummy_value()

        return types.void(MR, NV, tile, c, types.intp, types.intp), code

    return store


tile_store = intrinsic(prefer_literal=True)(_storing(past=False))
tile_stream = intrinsic(prefer_literal=True)(_storing(past=True))
