"""Vectors and register tiles: what a kernel needs to reach the machine's peak, as a handful of words for Numba.

**Why.** A processor core has some 32 *vector registers*, each as wide as a cache line (AVX-512: 16 float32), and one
instruction, the *fused multiply-add*, that does `c += a * b` on a whole register, twice in every clock cycle. A
product of matrices reaches that peak if its innermost loop keeps a block of the result (a *tile*) in registers: MR rows
of NV vectors. One step over k then loads NV vectors of b and MR numbers of a, and makes MR*NV multiply-adds of them::

                    b[k]:  | vector 0 | vector 1 |            tile[i][v] += a[i, k] * b[k, v]
        a[0, k] ->         | tile 0 0 | tile 0 1 |
        a[1, k] ->         | tile 1 0 | tile 1 1 |            8 x 2 vectors: 10 loads for 16 multiply-adds
        ...                     ...                           = 512 floating point operations

A compiler rarely finds that form by itself. So this file adds two types to Numba: `Vector` (one register) and the tile,
a plain tuple of vectors; and functions on them, called *intrinsics*, each of which writes one or two lines of LLVM's
intermediate language (`builder.load`, `builder.fadd`, ...). The compiler keeps small tuples in registers: this is all
the magic there is. Everything here works on float32 and on float64 (half as many numbers in a register).

**Words.** `a` is always a contiguous 1-D array and `i` a position in it; nothing checks bounds. `lanes(a)` is how many
of a's numbers fit into a register. MR and NV are literal integers (`literally`).

    prefetch(a, i)
    vload(a, i)   vstore(a, i, v)   vzero(a)   vsplat(a, s)   u + v, u - v, u * v, s * v   vmax(u, v)   relu(v)
    vloads(n, a, i, step) and vstores(vs, a, i, step): n vectors, `step` numbers apart, as a tuple
    where_positive(c, v): v where c > 0, else 0
    tile_zero(MR, NV, c)                       all zeros
    tile_load(MR, NV, c, ic, ldc)              tile[i][v] = c[ic + i*ldc + v*lanes : + lanes]
    tile_fma(MR, NV, tile, a, ia, lda, b, ib)  tile[i][v] += a[ia + i*lda] * b[ib + v*lanes : + lanes]
    tile_add(MR, NV, tile, c, ic, ldc)         tile[i][v] += c[...]; with ldc = 0 one row (a bias) is added to all
    tile_relu(tile)
    tile_store(MR, NV, tile, c, ic, ldc)

No operation here assumes that there is no NaN or infinity: `relu(NaN)` and `vmax(NaN, x)` are NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

FLAGS = ("contract",)  # a product and a sum may become one multiply-add; nothing else may be changed

# ---- the machine -----------------------------------------------------------------------------------------------------

AVX512_NAMES = ("skylake-avx512", "cascadelake", "icelake", "rocketlake", "tigerlake", "sapphirerapids", "znver4")
AVX2_NAMES = ("haswell", "broadwell", "skylake", "alderlake", "znver1", "znver2", "znver3")


def cpu_features() -> set[str]:
    """What Numba compiles for: this CPU, or what NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say."""
    settings: Any = config  # made at run time, unseen by type checkers
    given, name = settings.CPU_FEATURES, settings.CPU_NAME
    if given:
        return {word[1:] for word in given.split(",") if word.startswith("+")}
    if not name or name == "host":
        return {word for word, there in binding.get_host_cpu_features().items() if there}
    if name.startswith(AVX512_NAMES):
        return {"avx512f", "avx2"}
    return {"avx2"} if name.startswith(AVX2_NAMES) else set()


def instruction_set(features: set[str]) -> str:
    """Name of the vector instructions that the kernels use: "AVX-512", "AVX2", "NEON" or "SSE"."""
    if "avx512f" in features:
        return "AVX-512"
    if "avx2" in features:
        return "AVX2"
    return "NEON" if "neon" in features else "SSE"


INSTRUCTIONS = instruction_set(cpu_features())
VECTOR_BYTES = {"AVX-512": 64, "AVX2": 32, "NEON": 16, "SSE": 16}[INSTRUCTIONS]
# Rows and vectors of the tile for a matrix product: the accumulators, NV vectors of b and one number of a must fit into
# the registers (32 of them, or 16 with AVX2 and SSE), and there must be 8 or more accumulators, because a multiply-add
# takes 4 cycles and two of them begin in each.
TILE = {"AVX-512": (8, 2), "AVX2": (6, 2), "NEON": (8, 2), "SSE": (6, 2)}[INSTRUCTIONS]


def lanes_of(dtype: Any) -> int:
    """Numbers of that dtype in one register."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


# ---- the type --------------------------------------------------------------------------------------------------------


class Vector(types.Type):
    """One register of `lanes` numbers of type `dtype`."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(f"vector({dtype} x {self.lanes})")

    @property
    def llvm(self) -> ir.Type:
        return ir.VectorType(ir.FloatType() if self.dtype.bitwidth == 32 else ir.DoubleType(), self.lanes)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """How LLVM holds it: `<16 x float>`."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.llvm)


def _of(array: types.Array) -> Vector:
    return Vector(array.dtype)


def _tile(array: types.Array, mr: Any, nv: Any) -> types.UniTuple:
    return types.UniTuple(_of(array), mr.literal_value * nv.literal_value)


# ---- LLVM, as few lines as possible ----------------------------------------------------------------------------------


class Emit:
    """Writes LLVM instructions for one intrinsic call; arrays are given as (Numba type, LLVM value)."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context, self.builder = context, builder

    def pointer(self, array_type: types.Array, array: Any, index: Any) -> Any:
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        return self.builder.gep(data, [index])

    def after(self, pointer: Any, index_type: Any, steps: int) -> Any:
        """The address `steps` numbers after `pointer`."""
        return self.builder.gep(pointer, [ir.Constant(index_type, steps)])

    def row(self, pointer: Any, step: Any, i: int) -> Any:
        """The address `i * step` numbers after `pointer`."""
        return self.builder.gep(pointer, [self.builder.mul(step, ir.Constant(step.type, i))])

    def load(self, vector: Vector, pointer: Any) -> Any:
        load = self.builder.load(self.builder.bitcast(pointer, vector.llvm.as_pointer()))
        load.align = vector.dtype.bitwidth // 8  # no more is promised
        return load

    def store(self, vector: Vector, value: Any, pointer: Any, past: bool = False) -> None:
        """`past`: past the caches; then the place must be a multiple of the vector's size."""
        store = self.builder.store(value, self.builder.bitcast(pointer, vector.llvm.as_pointer()))
        store.align = vector.dtype.bitwidth // 8 * (vector.lanes if past else 1)
        if past:
            one = self.builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
            store.set_metadata("nontemporal", one)

    def zero(self, vector: Vector) -> Any:
        return ir.Constant(vector.llvm, [0.0] * vector.lanes)

    def splat(self, vector: Vector, number: Any) -> Any:
        empty = ir.Constant(vector.llvm, ir.Undefined)
        first = self.builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
        return self.builder.shuffle_vector(first, empty, mask)

    def fma(self, vector: Vector, a: Any, b: Any, c: Any) -> Any:
        name = f"llvm.fma.v{vector.lanes}f{vector.dtype.bitwidth}"
        function = ir.FunctionType(vector.llvm, [vector.llvm] * 3)
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, function, name), [a, b, c])

    def relu(self, vector: Vector, value: Any) -> Any:
        zero = self.zero(vector)
        return self.builder.select(self.builder.fcmp_ordered("<", value, zero), zero, value)

    def tile_rows(self, nv: int, many: int, start: Any, step: Any, vector: Vector) -> list[Any]:
        """Addresses of the vectors of a tile, row by row."""
        rows = (self.row(start, step, i) for i in range(many // nv))
        return [self.after(row, step.type, v * vector.lanes) for row in rows for v in range(nv)]


# ---- vectors ---------------------------------------------------------------------------------------------------------


def lanes(a: Any) -> int:
    """Numbers of array a that fit into a register (in a kernel: a constant)."""
    return lanes_of(a.dtype)


@overload(lanes)
def _lanes(a):  # type: ignore[no-untyped-def]  # Numba compares signatures, annotations too
    many = _of(a).lanes
    return lambda a: many


@intrinsic
def vload(typing: Any, a: Any, i: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        return emit.load(_of(a), emit.pointer(a, *args))

    return _of(a)(a, types.intp), code


@intrinsic
def vstore(typing: Any, a: Any, i: Any, v: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        emit.store(v, args[2], emit.pointer(a, args[0], args[1]))
        return context.get_dummy_value()

    return types.void(a, types.intp, v), code


@intrinsic
def vstream(typing: Any, a: Any, i: Any, v: Any) -> Any:
    """`vstore` past the caches, for what will not be read soon: the line is not fetched first. a[i] lies aligned."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        emit.store(v, args[2], emit.pointer(a, args[0], args[1]), past=True)
        return context.get_dummy_value()

    return types.void(a, types.intp, v), code


@intrinsic
def prefetch(typing: Any, a: Any, i: Any) -> Any:
    """Ask for the cache line of a[i], which will be read soon; any i may be asked for."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.bitcast(Emit(context, builder).pointer(a, *args), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        function = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        call = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        read, soon, data = (ir.Constant(number, value) for value in (0, 3, 1))
        builder.call(call, [place, read, soon, data])
        return context.get_dummy_value()

    return types.void(a, types.intp), code


@intrinsic
def vzero(typing: Any, a: Any) -> Any:
    return _of(a)(a), lambda context, builder, signature, args: Emit(context, builder).zero(_of(a))


@intrinsic
def vsplat(typing: Any, a: Any, s: Any) -> Any:
    """A vector that holds the number s (made one of a's dtype) everywhere."""
    vector = _of(a)
    return vector(a, vector.dtype), lambda context, builder, signature, args: Emit(context, builder).splat(
        vector, args[1]
    )


@intrinsic
def _scaled(typing: Any, s: Any, v: Any) -> Any:
    """A vector like v that holds s everywhere."""
    return v(v.dtype, v), lambda context, builder, signature, args: Emit(context, builder).splat(v, args[0])


def _arithmetic(instruction: str) -> Any:
    @intrinsic
    def apply(typing: Any, u: Any, v: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, instruction)(*args, flags=FLAGS)

        return u(u, v), code

    return apply


def _operator(symbol: Callable[..., Any], apply: Any) -> None:
    """u + v, s + v and v + s for vectors u, v and numbers s."""

    @overload(symbol)
    def choose(u, v):  # type: ignore[no-untyped-def]
        if isinstance(u, Vector) and isinstance(v, Vector):
            return lambda u, v: apply(u, v)
        if isinstance(v, Vector) and isinstance(u, types.Number):
            return lambda u, v: apply(_scaled(u, v), v)
        if isinstance(u, Vector) and isinstance(v, types.Number):
            return lambda u, v: apply(u, _scaled(v, u))
        return None


_operator(operator.add, _arithmetic("fadd"))
_operator(operator.sub, _arithmetic("fsub"))
_operator(operator.mul, _arithmetic("fmul"))


@intrinsic
def vmax(typing: Any, u: Any, v: Any) -> Any:
    """The larger of both in each lane; NaN if one is NaN."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b = args
        larger = builder.or_(builder.fcmp_ordered(">", a, b), builder.fcmp_unordered("uno", a, a))
        return builder.select(larger, a, b)

    return u(u, v), code


@intrinsic
def relu(typing: Any, v: Any) -> Any:
    return v(v), lambda context, builder, signature, args: Emit(context, builder).relu(v, args[0])


@intrinsic
def where_positive(typing: Any, c: Any, v: Any) -> Any:
    """v where c > 0 or c is NaN, else 0: the derivative of ReLU, from its result c."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = Emit(context, builder).zero(v)
        return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[1])

    return v(c, v), code


@intrinsic(prefer_literal=True)
def vloads(typing: Any, n: Any, a: Any, i: Any, step: Any) -> Any:
    vector, many = _of(a), n.literal_value
    result = types.UniTuple(vector, many)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        start = emit.pointer(a, args[1], args[2])
        return context.make_tuple(
            builder, result, [emit.load(vector, emit.row(start, args[3], j)) for j in range(many)]
        )

    return result(n, a, types.intp, types.intp), code


@intrinsic
def vstores(typing: Any, vs: Any, a: Any, i: Any, step: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        start = emit.pointer(a, args[1], args[2])
        for j, value in enumerate(cgutils.unpack_tuple(builder, args[0])):
            emit.store(_of(a), value, emit.row(start, args[3], j))
        return context.get_dummy_value()

    return types.void(vs, a, types.intp, types.intp), code


# ---- tiles -----------------------------------------------------------------------------------------------------------


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


@intrinsic(prefer_literal=True)
def tile_store(typing: Any, MR: Any, NV: Any, tile: Any, c: Any, ic: Any, ldc: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        start = emit.pointer(c, args[3], args[4])
        places = emit.tile_rows(NV.literal_value, tile.count, start, args[5], tile.dtype)
        for value, place in zip(cgutils.unpack_tuple(builder, args[2]), places, strict=True):
            emit.store(tile.dtype, value, place)
        return context.get_dummy_value()

    return types.void(MR, NV, tile, c, types.intp, types.intp), code


@intrinsic(prefer_literal=True)
def tile_stream(typing: Any, MR: Any, NV: Any, tile: Any, c: Any, ic: Any, ldc: Any) -> Any:
    """`tile_store` past the caches, see `vstream`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        start = emit.pointer(c, args[3], args[4])
        places = emit.tile_rows(NV.literal_value, tile.count, start, args[5], tile.dtype)
        for value, place in zip(cgutils.unpack_tuple(builder, args[2]), places, strict=True):
            emit.store(tile.dtype, value, place, past=True)
        return context.get_dummy_value()

    return types.void(MR, NV, tile, c, types.intp, types.intp), code
