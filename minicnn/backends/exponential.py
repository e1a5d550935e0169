"""Exponential, logarithm and hyperbolic tangent that a loop computes many at a time.

The C library's `expf` is a call for every number, and a call keeps the compiler from using vectors: NumPy, which has
vectors of its own, is then several times faster than compiled loops. For float32 these functions are arithmetic
only, so that the loop around them becomes vectors. Float64 calls the C library: there exactness counts, not time.

    exp x = 2^k exp r             with k whole and |r| <= ln 2 / 2; exp r is a polynomial
    log x = e ln 2 + log(1 + f)   with x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2); log(1 + f) is a polynomial
    tanh x                        an odd polynomial where |x| < 0.625, beyond it 1 - 2 / (exp(2 |x|) + 1) with x's sign

The coefficients are those of Moshier's Cephes library (single precision). Errors stay below 2 units in the last place
(`tests/backends/test_exponential.py` tries all of float32 in steps); NaN stays NaN, and what overflows is infinite.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

OPTIONS: Any = {"nopython": True, "fastmath": {"contract"}, "error_model": "numpy"}  # as in `jit.kernel`
F = np.float32

LOWEST, HIGHEST = F(-104), F(89)  # below: 0; above: infinity
WHOLE = F(1.5 * 2**23)  # x + WHOLE - WHOLE is x rounded to a whole number, for |x| < 2^22
EXPONENT = F(1.5 * 2**23 + 127)  # the last bits of k + EXPONENT are those of 2^k's exponent
LOG2_E = F(1 / math.log(2))
LN2, LN2_REST = F(0.693359375), F(-2.12194440e-4)  # ln 2 as a sum; products of the first and a small number are exact
E0, E1, E2, E3, E4, E5 = map(F, (1.98756915e-4, 1.39819995e-3, 8.33345191e-3, 4.16657959e-2, 1.66666655e-1, 0.5))
L0, L1, L2, L3, L4 = map(F, (7.0376836292e-2, -1.151461031e-1, 1.167699874e-1, -1.2420140846e-1, 1.4249322787e-1))
L5, L6, L7, L8 = map(F, (-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1))
T0, T1, T2, T3, T4 = map(F, (-5.704988727e-3, 2.0639088795e-2, -5.373971555e-2, 1.33314422036e-1, -3.33332819422e-1))
ZERO, HALF, ONE, TWO = F(0), F(0.5), F(1), F(2)
SMALLEST, LARGER, LARGER_BY = F(2.0**-126), F(2.0**23), F(23)  # the first float32 that is not denormal
SQRT_HALF, SMALL, INFINITY, NAN = F(math.sqrt(0.5)), F(0.625), F(np.inf), F(np.nan)


@intrinsic
def bits_of(typing: Any, x: Any) -> Any:
    """The 32 bits of a float32, as an int32."""
    return types.int32(types.float32), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.IntType(32)
    )


@intrinsic
def float_of(typing: Any, i: Any) -> Any:
    """The float32 that these 32 bits are."""
    return types.float32(types.int32), lambda context, builder, signature, args: builder.bitcast(
        args[0], ir.FloatType()
    )


def exp(x: Any) -> Any:
    """e^x, in kernels."""
    return np.exp(x)


def log(x: Any) -> Any:
    """The natural logarithm of x, in kernels."""
    return np.log(x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent of x, in kernels."""
    return np.tanh(x)


@overload(exp, jit_options=OPTIONS)
def _exp(x):  # type: ignore[no-untyped-def]  # Numba compares signatures, annotations too
    if x != types.float32:
        return lambda x: math.exp(x)

    def exp32(x):  # type: ignore[no-untyped-def]
        c = LOWEST if x < LOWEST else x
        c = HIGHEST if c > HIGHEST else c
        k = (c * LOG2_E + WHOLE) - WHOLE
        r = (c - k * LN2) - k * LN2_REST
        p = ((((E0 * r + E1) * r + E2) * r + E3) * r + E4) * r + E5
        p = (p * r * r + r) + ONE
        half = (k * HALF + WHOLE) - WHOLE  # 2^k itself may be denormal, or too large: in two factors it is neither
        first = float_of(np.int32(bits_of(half + EXPONENT) << 23))
        return p * first * float_of(np.int32(bits_of((k - half) + EXPONENT) << 23))

    return exp32


@overload(log, jit_options=OPTIONS)
def _log(x):  # type: ignore[no-untyped-def]  # Numba compares signatures, annotations too
    if x != types.float32:
        return lambda x: math.log(x)

    def log32(x):  # type: ignore[no-untyped-def]
        denormal = x < SMALLEST
        bits = bits_of(x * LARGER if denormal else x)
        e = F(np.int32((bits >> 23) - 126)) - (LARGER_BY if denormal else ZERO)
        m = float_of(np.int32((bits & 0x7FFFFF) | 0x3F000000))  # in [1/2, 1)
        low = m < SQRT_HALF
        f = (m + m if low else m) - ONE
        e = e - ONE if low else e
        z = f * f
        p = (((((((L0 * f + L1) * f + L2) * f + L3) * f + L4) * f + L5) * f + L6) * f + L7) * f + L8
        y = (f * z) * p + e * LN2_REST
        y = (f + (y - HALF * z)) + e * LN2
        y = x if x == INFINITY else y
        y = -INFINITY if x == ZERO else y
        return y if x >= ZERO else NAN

    return log32


@overload(tanh, jit_options=OPTIONS)
def _tanh(x):  # type: ignore[no-untyped-def]  # Numba compares signatures, annotations too
    if x != types.float32:
        return lambda x: math.tanh(x)

    def tanh32(x):  # type: ignore[no-untyped-def]
        size = abs(x)
        z = x * x
        near = ((((T0 * z + T1) * z + T2) * z + T3) * z + T4) * z * x + x
        far = ONE - TWO / (exp(size + size) + ONE)
        far = -far if x < ZERO else far
        return near if size < SMALL else far

    return tanh32
