"""Partial results in registers: n sums, or n maxima, side by side, each of every n-th number.

An addition waits for the one before it, so a single running sum takes as many additions, one after another, as there
are numbers; n sums side by side wait n times less and fill whole vectors. Which number goes into which sum depends on n
alone, never on how wide this machine's vectors are: the bits of the result are the same everywhere. Sums are of
float64, whatever the numbers: what is read from memory costs more than to make it wider.

In a kernel, for a contiguous 1-D array `a` and a number n written out, a multiple of 16 (no vector has more lanes):

    zeros(n, a)    lowest(n, a)             n sums 0 (float64); n maxima minus infinity (of a's dtype)
    added(s, a, i)    larger(s, a, i)       s with a[i : i + n]; where one of two is NaN, NaN is the larger
    total(s)    largest(s)                  all n in one number: the second half onto the first, and so on
    keep(s, a, i, divisor)                  a[i : i + n] = s / divisor, in a's dtype
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.backends.simd import Emit, Vector

Value = Any  # of LLVM


def _several(n: Any, dtype: Any) -> types.UniTuple:
    """The type of n partial results: whole vectors."""
    vector = Vector(dtype)
    return types.UniTuple(vector, n.literal_value // vector.lanes)


def _everywhere(number: float, dtype_of: Callable[[Any], Any]) -> Any:
    @intrinsic(prefer_literal=True)
    def start(typing: Any, n: Any, a: Any) -> Any:
        several = _several(n, dtype_of(a))

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Value:
            vector = several.dtype
            constant = ir.Constant(vector.llvm, [number] * vector.lanes)
            return context.make_tuple(builder, several, [constant] * several.count)

        return several(n, a), code

    return start


zeros = _everywhere(0.0, lambda a: types.float64)
lowest = _everywhere(float("-inf"), lambda a: a.dtype)


def _plus(builder: Any, number: Value, sum_: Value) -> Value:
    return builder.fadd(number, sum_)


def _larger(builder: Any, number: Value, best: Value) -> Value:
    wins = builder.or_(builder.fcmp_ordered(">", number, best), builder.fcmp_unordered("uno", number, number))
    return builder.select(wins, number, best)


def _fold(combine: Callable[[Any, Value, Value], Value]) -> Any:
    """The partial results s and the numbers of a from i on, combined one by one."""

    @intrinsic
    def fold(typing: Any, s: Any, a: Any, i: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Value:
            vector, emit = s.dtype, Emit(context, builder)
            start = emit.pointer(a, args[1], args[2])
            numbers = ir.VectorType(context.get_value_type(a.dtype), vector.lanes)
            results = []
            for k, before in enumerate(cgutils.unpack_tuple(builder, args[0])):
                place = builder.gep(start, [ir.Constant(args[2].type, k * vector.lanes)])
                load = builder.load(builder.bitcast(place, numbers.as_pointer()))
                load.align = a.dtype.bitwidth // 8  # no more is promised
                wide = load if numbers == vector.llvm else builder.fpext(load, vector.llvm)
                results.append(combine(builder, wide, before))
            return context.make_tuple(builder, s, results)

        return s(s, a, types.intp), code

    return fold


added, larger = _fold(_plus), _fold(_larger)


def _all(combine: Callable[[Any, Value, Value], Value]) -> Any:
    """All partial results in one, half by half: whole vectors, then halves of a vector."""

    @intrinsic
    def all_(typing: Any, s: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Value:
            left = list(cgutils.unpack_tuple(builder, args[0]))
            while len(left) > 1:
                half = len(left) // 2
                left = [combine(builder, left[half + k], left[k]) for k in range(half)]
            vector, many = left[0], s.dtype.lanes
            while many > 1:
                many //= 2
                mask = ir.Constant(ir.VectorType(ir.IntType(32), many), list(range(many)))
                later = ir.Constant(mask.type, list(range(many, 2 * many)))
                first, second = (builder.shuffle_vector(vector, vector, each) for each in (mask, later))
                vector = combine(builder, second, first)
            return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

        return s.dtype.dtype(s), code

    return all_


total, largest = _all(_plus), _all(_larger)


@intrinsic
def keep(typing: Any, s: Any, a: Any, i: Any, divisor: Any) -> Any:
    """a[i : i + n] = s / divisor"""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Value:
        vector, emit = s.dtype, Emit(context, builder)
        start = emit.pointer(a, args[1], args[2])
        by = args[3] if vector.dtype == types.float64 else builder.fptrunc(args[3], vector.llvm.element)
        numbers = ir.VectorType(context.get_value_type(a.dtype), vector.lanes)
        for k, value in enumerate(cgutils.unpack_tuple(builder, args[0])):
            result = builder.fdiv(value, emit.splat(vector, by))
            if numbers != vector.llvm:
                narrow = a.dtype.bitwidth < vector.dtype.bitwidth
                result = builder.fptrunc(result, numbers) if narrow else builder.fpext(result, numbers)
            place = builder.gep(start, [ir.Constant(args[2].type, k * vector.lanes)])
            store = builder.store(result, builder.bitcast(place, numbers.as_pointer()))
            store.align = a.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(s, a, types.intp, types.float64), code
