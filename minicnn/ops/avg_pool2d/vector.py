"""Average pooling on `Images`: vectors over channels, one pass over memory; the sum of a window stays in registers.

Shapes: x, dx: the `flat` of images (N, C, H, W); y, dy: that of images (N, C, P, Q). Windows are products of rows and
columns, as in `loops.py`, and cut to the image there, so no loop here asks whether a pixel is inside. Each is divided
by its own number of pixels: multiplied by `share[p,q] = 1/A[p,q]`, made once in NumPy, which is faster.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.images import Images
from minicnn.backends.jit import kernel
from minicnn.backends.simd import lanes, vload, vstore, vzero
from minicnn.ops.avg_pool2d.loops import holders, windows_of
from minicnn.ops.lines import supports
from minicnn.ops.rows import geometry, is_small, row_start
from minicnn.ops.windows import Pair, output_size

__all__ = ["forward", "grad_input", "supports"]


@functools.lru_cache(maxsize=64)  # for small images they take as long as the pooling
def _windows(
    size: Pair, out: Pair, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool, dtype: Any
) -> tuple[Array, ...]:
    """rows (P, 2) and columns (Q, 2) of the windows, the windows (H, 2), (W, 2) that hold a pixel, share (P, Q)."""
    (rows, row_count), (columns, column_count) = (
        windows_of(out[a], size[a], kernel_size[a], stride[a], padding[a], count_include_pad) for a in (0, 1)
    )
    share = (1.0 / np.outer(row_count, column_count)).astype(dtype)
    return rows, columns, holders(rows, size[0]), holders(columns, size[1]), share


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool
) -> Array:
    """y[n,c,p,q] = 1/A[p,q] sum of x[n,c,h,w] over the rows and columns of window (p, q)"""
    n, c, *size = x.shape
    p, q = (output_size(size[a], kernel_size[a], stride[a], padding[a], 1, ceil_mode=ceil_mode) for a in (0, 1))
    windows = (size[0], size[1]), (p, q), kernel_size, stride, padding, count_include_pad
    rows, columns, _, _, share = _windows(*windows, x.dtype)
    images, y = Images.of(x), Images((n, c, p, q), x.dtype)
    _forward(images.flat, geometry(images), rows, columns, share, y.flat, geometry(y))
    return y.array


@kernel
def _forward(x, place, rows, columns, share, y, y_place):
    # parallel over the rows (n, p) of y; inside: q, channels, then the pixels h, w of the window
    NP = y_place[0] * y_place[1]
    if is_small(place):
        for np_ in range(NP):
            _forward_row(x, place, rows, columns, share, y, y_place, np_)
    else:
        for np_ in prange(NP):
            _forward_row(x, place, rows, columns, share, y, y_place, np_)


@kernel(parallel=False)
def _forward_row(x, place, rows, columns, share, y, y_place, np_):
    # row p of y in image n, np_ = n P + p
    H, channels, step = place[1], place[3], place[4]
    P, Q = y_place[1], y_place[2]
    n, p = np_ // P, np_ % P
    top, height = row_start(place, n * H + rows[p, 0]), rows[p, 1] - rows[p, 0]
    to = row_start(y_place, np_)
    for q in range(Q):
        left, width, part = columns[q, 0] * channels, columns[q, 1] - columns[q, 0], share[p, q]
        for c in range(0, channels, lanes(x)):
            total = vzero(x)
            for h in range(height):
                at = top + h * step + left + c
                for w in range(width):
                    total = total + vload(x, at + w * channels)
            vstore(y, to + q * channels + c, total * part)


def grad_input(
    dy: Array,
    *,
    x_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
) -> Array:
    """dx[n,c,h,w] = sum of dy[n,c,p,q] / A[p,q] over the windows (p, q) that hold (h, w)"""
    windows = x_shape[2:], dy.shape[2:], kernel_size, stride, padding, count_include_pad
    _, _, row_holders, column_holders, share = _windows(*windows, dy.dtype)
    images, dx = Images.of(dy), Images(x_shape, dy.dtype)
    _grad_input(images.flat, geometry(images), row_holders, column_holders, share, dx.flat, geometry(dx))
    return dx.array


@kernel
def _grad_input(dy, y_place, row_holders, column_holders, share, dx, place):
    # parallel over the rows (n, h) of dx; inside: w, channels, then the windows p, q that hold (h, w), in order
    NH = place[0] * place[1]
    if is_small(place):
        for nh in range(NH):
            _grad_row(dy, y_place, row_holders, column_holders, share, dx, place, nh)
    else:
        for nh in prange(NH):
            _grad_row(dy, y_place, row_holders, column_holders, share, dx, place, nh)


@kernel(parallel=False)
def _grad_row(dy, y_place, row_holders, column_holders, share, dx, place, nh):
    # row h of dx in image n, nh = n H + h
    H, W, channels = place[1], place[2], place[3]
    P, step = y_place[1], y_place[4]
    n, h = nh // H, nh % H
    first_p, many_p = row_holders[h, 0], row_holders[h, 1] - row_holders[h, 0]
    top, to = row_start(y_place, n * P + first_p), row_start(place, nh)
    for w in range(W):
        first_q, many_q = column_holders[w, 0], column_holders[w, 1] - column_holders[w, 0]
        for c in range(0, channels, lanes(dy)):
            total = vzero(dy)
            for p in range(many_p):
                at = top + p * step + first_q * channels + c
                for q in range(many_q):
                    total = total + vload(dy, at + q * channels) * share[first_p + p, first_q + q]
            vstore(dx, to + w * channels + c, total)
