"""Vectors: what a kernel needs to reach the machine's peak, as a handful of words for Numba.

**Why.** A processor core has some 32 *vector registers*, each as wide as a cache line (AVX-512: 16 float32), and one
instruction, the *fused multiply-add*, that does `c += a * b` on a whole register, twice in every clock cycle. By itself
a compiler uses them for simple loops only. So this file adds a type to Numba: `Vector`, the contents of one register;
and functions on it, called *intrinsics*, each of which writes one or two lines of LLVM's intermediate language
(`builder.load`, `builder.fadd`, ...): this is all the magic there is. `tiles.py` builds blocks of vectors from it.
Everything here works on float32 and on float64 (half as many numbers in a register).

**Words.** `a` is always a contiguous 1-D array and `i` a position in it; nothing checks bounds. `lanes(a)` is how many
of a's numbers fit into a register.

    prefetch(a, i)
    vload(a, i)   vstore(a, i, v)   vzero(a)   vsplat(a, s)   u + v, u - v, u * v, s * v   vmax(u, v)   relu(v)
    vstream(a, i, v): `vstore` past the caches
    vloads(n, a, i, step) and vstores(vs, a, i, step): n vectors, `step` numbers apart, as a tuple
    where_positive(c, v): v where c > 0 or c is NaN, else 0

No operation here assumes that there is no NaN or infinity: `relu(NaN)` and `vmax(NaN, x)` are NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

from minicnn.backends.cpu import VECTOR_BYTES, lanes_of

FLAGS = ("contract",)  # a product and a sum may become one multiply-add; nothing else may be changed

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


def vector_of(array: types.Array) -> Vector:
    """The type of a vector of this array's numbers."""
    return Vector(array.dtype)


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
    many = vector_of(a).lanes
    return lambda a: many


@intrinsic
def vload(typing: Any, a: Any, i: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(context, builder)
        return emit.load(vector_of(a), emit.pointer(a, *args))

    return vector_of(a)(a, types.intp), code


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
    return vector_of(a)(a), lambda context, builder, signature, args: Emit(context, builder).zero(vector_of(a))


@intrinsic
def vsplat(typing: Any, a: Any, s: Any) -> Any:
    """A vector that holds the number s (made one of a's dtype) everywhere."""
    vector = vector_of(a)
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
    vector, many = vector_of(a), n.literal_value
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
            emit.store(vector_of(a), value, emit.row(start, args[3], j))
        return context.get_dummy_value()

    return types.void(vs, a, types.intp, types.intp), code
