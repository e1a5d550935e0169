"""Max pooling on `Images`: vectors over channels; the maximum and its place stay in registers.

Shapes: x, dx: the `flat` of images (N, C, H, W); y, dy, and winner (int32): those of images (N, C, P, Q), which lie
alike. A window has R x S pixels.

Places are counted as numbers of x's own dtype, so that they are compared and chosen along with the values; float32
holds all whole numbers up to 2^24. Backward gathers: each pixel of x asks the windows that hold it whether it won.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import get_num_threads as thread_count
from numba import get_thread_id, prange, types
from numba.extending import intrinsic

from minicnn.backends.arrays import Array
from minicnn.backends.images import Images
from minicnn.backends.jit import kernel
from minicnn.backends.scratch import Scratch
from minicnn.backends.simd import Emit, lanes, vload, vmax, vsplat, vstore, vzero
from minicnn.ops.lines import supports as supports_lines
from minicnn.ops.registry import Problem
from minicnn.ops.rows import geometry, is_small, row_start
from minicnn.ops.windows import Pair, output_size

MOST_PIXELS = 2**24


def supports(problem: Problem) -> str:
    """Images whose places are exact in float32."""
    shape: Any = problem.options.get("x_shape", problem.shapes[0])
    if shape[2] * shape[3] > MOST_PIXELS:
        return "at most 2^24 pixels"
    return supports_lines(problem)


# ---- vectors --------------------------------------------------------------------------------------------------------


@intrinsic
def better(typing: Any, best: Any, where: Any, value: Any, place: Any) -> Any:
    """(value, place) where value > best or value is NaN, else (best, where)."""
    pair = types.UniTuple(best, 2)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        best, where, value, place = args
        wins = builder.or_(builder.fcmp_ordered(">", value, best), builder.fcmp_unordered("uno", value, value))
        chosen = [builder.select(wins, value, best), builder.select(wins, place, where)]
        return context.make_tuple(builder, pair, chosen)

    return pair(best, where, value, place), code


@intrinsic
def store_places(typing: Any, where: Any, winner: Any, i: Any) -> Any:
    """winner[i : i + lanes] = where, as whole numbers."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.VectorType(ir.IntType(32), where.lanes)
        pointer = Emit(context, builder).pointer(winner, args[1], args[2])
        store = builder.store(builder.fptosi(args[0], whole), builder.bitcast(pointer, whole.as_pointer()))
        store.align = 4
        return context.get_dummy_value()

    return types.void(where, winner, types.intp), code


@intrinsic
def where_won(typing: Any, winner: Any, i: Any, place: Any, v: Any) -> Any:
    """v where winner[i : i + lanes] == place, else 0."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.VectorType(ir.IntType(32), v.lanes)
        emit = Emit(context, builder)
        places = builder.load(builder.bitcast(emit.pointer(winner, args[0], args[1]), whole.as_pointer()))
        places.align = 4
        empty = ir.Constant(whole, ir.Undefined)
        first = builder.insert_element(empty, builder.trunc(args[2], ir.IntType(32)), ir.Constant(ir.IntType(32), 0))
        everywhere = builder.shuffle_vector(first, empty, ir.Constant(whole, [0] * v.lanes))
        return builder.select(builder.icmp_signed("==", places, everywhere), args[3], emit.zero(v))

    return v(winner, types.intp, types.intp, v), code


# ---- forward --------------------------------------------------------------------------------------------------------


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    """y[n,c,p,q] = max_{r,s} x[n, c, p*stride + r*dilation - padding, q*stride + s*dilation - padding], and where"""
    n, c = x.shape[:2]
    steps = list(zip(kernel_size, stride, padding, dilation, strict=True))
    out = [output_size(x.shape[2 + a], *steps[a], ceil_mode=ceil_mode) for a in (0, 1)]
    images = Images.of(x)
    y = Images((n, c, *out), x.dtype)
    winner = Images(y.shape, np.int32)
    windows = (*kernel_size, *stride, *padding, *dilation)
    _forward(images.flat, geometry(images), y.flat, geometry(y), winner.flat, windows)
    return y.array, winner.array


@kernel
def _forward(x, place, y, y_place, winner, windows):
    # parallel over (n, p); inside: q, channels, then the pixels r, s of the window that are inside the image: from the
    # first of them on, a later one takes over if it is larger or NaN
    N = place[0]
    P = y_place[1]
    if is_small(place):
        for np_ in range(N * P):
            _forward_row(x, place, y, y_place, winner, windows, np_)
    else:
        for np_ in prange(N * P):
            _forward_row(x, place, y, y_place, winner, windows, np_)


@kernel(parallel=False)
def _forward_row(x, place, y, y_place, winner, windows, np_):
    # row p of y in image n, np_ = n P + p
    H, W, channels = place[1], place[2], place[3]
    P, Q = y_place[1], y_place[2]
    R, S, sh, sw, ph, pw, dh, dw = windows
    n, p = np_ // P, np_ % P
    top = p * sh - ph
    while top < 0:
        top += dh
    bottom = min(H, p * sh - ph + (R - 1) * dh + 1)
    to = row_start(y_place, np_)
    for q in range(Q):
        left = q * sw - pw
        while left < 0:
            left += dw
        right = min(W, q * sw - pw + (S - 1) * dw + 1)
        for c in range(0, channels, lanes(x)):
            best = vload(x, row_start(place, n * H + top) + left * channels + c)
            where = vsplat(x, x.dtype.type(top * W + left))
            for h in range(top, bottom, dh):
                at = row_start(place, n * H + h) + c
                for w in range(left, right, dw):
                    value, here = vload(x, at + w * channels), vsplat(x, x.dtype.type(h * W + w))
                    best, where = better(best, where, value, here)
            vstore(y, to + q * channels + c, best)
            store_places(where, winner, to + q * channels + c)


def largest(x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool) -> Array:
    """y of `forward` without the places, for inference: rows first, then columns, so R + S comparisons, not R S"""
    steps = list(zip(kernel_size, stride, padding, dilation, strict=True))
    out = [output_size(x.shape[2 + a], *steps[a], ceil_mode=ceil_mode) for a in (0, 1)]
    images = Images.of(x)
    y = Images((*x.shape[:2], *out), x.dtype)
    windows = (*kernel_size, *stride, *padding, *dilation)
    with Scratch(thread_count() * images.row, x.dtype) as lines:
        _largest(images.flat, geometry(images), y.flat, geometry(y), lines, windows)
    return y.array


@kernel
def _largest(x, place, y, y_place, lines, windows):
    # line[w, c] = max of x over the window's rows; y = max of line over its columns
    # parallel over (n, p); inside: the numbers of a row, then q, channels; each a maximum over r, or s
    N, H, W, channels = place[0], place[1], place[2], place[3]
    P, Q = y_place[1], y_place[2]
    R, S, sh, sw, ph, pw, dh, dw = windows
    for np_ in prange(N * P):
        n, p = np_ // P, np_ % P
        line = get_thread_id() * place[4]
        top = p * sh - ph
        while top < 0:
            top += dh
        bottom = min(H, p * sh - ph + (R - 1) * dh + 1)
        at = row_start(place, n * H + top)
        for i in range(0, W * channels, lanes(x)):
            best = vload(x, at + i)
            for h in range(top + dh, bottom, dh):
                best = vmax(vload(x, at + (h - top) * place[4] + i), best)
            vstore(lines, line + i, best)
        to = row_start(y_place, np_)
        for q in range(Q):
            left = q * sw - pw
            while left < 0:
                left += dw
            right = min(W, q * sw - pw + (S - 1) * dw + 1)
            for c in range(0, channels, lanes(x)):
                best = vload(lines, line + left * channels + c)
                for w in range(left + dw, right, dw):
                    best = vmax(vload(lines, line + w * channels + c), best)
                vstore(y, to + q * channels + c, best)


# ---- gradient -------------------------------------------------------------------------------------------------------


def grad_input(
    dy: Array,
    winner: Array,
    *,
    x_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> Array:
    """dx[n,c,h,w] = sum of dy[n,c,p,q] over the windows (p, q) that hold (h, w) and whose winner it is"""
    images, dx = Images.of(dy), Images(x_shape, dy.dtype)
    windows = (*kernel_size, *stride, *padding, *dilation)
    places = Images.of(winner.astype(np.int32, copy=False))
    _grad_input(images.flat, geometry(images), places.flat, dx.flat, geometry(dx), windows)
    return dx.array


@kernel
def _grad_input(dy, y_place, winner, dx, place, windows):
    # parallel over the rows (n, h) of dx; inside: w, channels, then the windows p, q that reach (h, w), in order. With
    # dilation some of them step over it; they have other winners.
    N, H = place[0], place[1]
    if is_small(place):
        for nh in range(N * H):
            _grad_row(dy, y_place, winner, dx, place, windows, nh)
    else:
        for nh in prange(N * H):
            _grad_row(dy, y_place, winner, dx, place, windows, nh)


@kernel(parallel=False)
def _grad_row(dy, y_place, winner, dx, place, windows, nh):
    # row h of dx in image n, nh = n H + h
    H, W, channels = place[1], place[2], place[3]
    P, Q = y_place[1], y_place[2]
    R, S, sh, sw, ph, pw, dh, dw = windows
    n, h = nh // H, nh % H
    first_p = max(0, -((-(h + ph - (R - 1) * dh)) // sh))
    last_p = min(P, (h + ph) // sh + 1)
    to = row_start(place, nh)
    first_q, last_q = 0, 0
    for w in range(W):
        while first_q * sw + (S - 1) * dw < w + pw:
            first_q += 1
        while last_q < Q and last_q * sw <= w + pw:
            last_q += 1
        for c in range(0, channels, lanes(dy)):
            total = vzero(dy)
            for p in range(first_p, last_p):
                at = row_start(y_place, n * P + p) + c
                for q in range(first_q, last_q):
                    value = vload(dy, at + q * channels)
                    total = total + where_won(winner, at + q * channels, h * W + w, value)
            vstore(dx, to + w * channels + c, total)
