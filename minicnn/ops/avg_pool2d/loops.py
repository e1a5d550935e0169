"""Averages over windows as compiled loops.

Shapes: x and dx (N, C, H, W), y and dy (N, C, P, Q), all contiguous. Windows are products of rows and columns: window
(p, q) holds the rows `rows[p,0] <= h < rows[p,1]` and the columns `columns[q,0] <= v < columns[q,1]` of the image,
and its divisor is `A[p,q] = row_count[p] * column_count[q]`. These small tables are made once in NumPy; the kernels
`average` and `spread` know nothing of stride or padding, and adaptive pooling uses them with other tables.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.registry import Problem
from minicnn.ops.windows import Pair, output_size


def supports(problem: Problem) -> str:
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    return "" if problem.dtype in (np.float32, np.float64) else "dtype must be float32 or float64"


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool
) -> Array:
    """y[n,c,p,q] = 1/A[p,q] sum of x[n,c,h,v] over the rows and columns of window (p, q)"""
    out = [output_size(x.shape[2 + a], kernel_size[a], stride[a], padding[a], 1, ceil_mode=ceil_mode) for a in (0, 1)]
    y = np.empty((*x.shape[:2], *out), x.dtype)
    (rows, row_count), (columns, column_count) = (
        windows_of(out[a], x.shape[2 + a], kernel_size[a], stride[a], padding[a], count_include_pad) for a in (0, 1)
    )
    average(np.ascontiguousarray(x), rows, columns, row_count.astype(x.dtype), column_count.astype(x.dtype), y)
    return y


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
    """dx[n,c,h,v] = sum of dy[n,c,p,q] / A[p,q] over the windows (p, q) that hold (h, v)"""
    dx = np.empty(x_shape, dy.dtype)
    (rows, row_count), (columns, column_count) = (
        windows_of(dy.shape[2 + a], x_shape[2 + a], kernel_size[a], stride[a], padding[a], count_include_pad)
        for a in (0, 1)
    )
    counts = row_count.astype(dy.dtype), column_count.astype(dy.dtype)
    spread(np.ascontiguousarray(dy), holders(rows, x_shape[2]), holders(columns, x_shape[3]), *counts, dx)
    return dx


def windows_of(
    many: int, size: int, kernel_size: int, stride: int, padding: int, count_include_pad: bool
) -> tuple[Array, Array]:
    """Along one axis, for each window: its places in the image (first, one past the last), and how many count."""
    start = np.arange(many) * stride - padding
    end = np.minimum(start + kernel_size, size + padding)
    inside = np.stack([np.maximum(start, 0), np.minimum(end, size)], axis=1)
    return inside, end - start if count_include_pad else inside[:, 1] - inside[:, 0]


def holders(windows: Array, size: int) -> Array:
    """Along one axis, for each place: the windows that hold it (first, one past the last).

    Neither end falls from one window to the next, so these windows are neighbours: from the first that ends after the
    place to the last that starts at or before it.
    """
    places = np.arange(size)
    first, after = (np.searchsorted(windows[:, end], places, side="right") for end in (1, 0))
    return np.stack([first, after], axis=1)


@kernel
def average(x, rows, columns, row_count, column_count, y):
    # y[n,c,p,q] = sum of x[n,c,h,v] over rows[p] and columns[q] / (row_count[p] column_count[q])
    # parallel over (n, c); inside: p, q, then the sum over h, v
    N, C, P, Q = y.shape
    for nc in prange(N * C):
        n, c = nc // C, nc % C
        for p in range(P):
            for q in range(Q):
                total = y.dtype.type(0)
                for h in range(rows[p, 0], rows[p, 1]):
                    for v in range(columns[q, 0], columns[q, 1]):
                        total += x[n, c, h, v]
                y[n, c, p, q] = total / (row_count[p] * column_count[q])


@kernel
def spread(dy, row_holders, column_holders, row_count, column_count, dx):
    # dx[n,c,h,v] = sum of dy[n,c,p,q] / (row_count[p] column_count[q]) over row_holders[h] and column_holders[v]
    # parallel over (n, c); inside: h, v, then the sum over p, q
    N, C, H, W = dx.shape
    for nc in prange(N * C):
        n, c = nc // C, nc % C
        for h in range(H):
            for v in range(W):
                total = dx.dtype.type(0)
                for p in range(row_holders[h, 0], row_holders[h, 1]):
                    for q in range(column_holders[v, 0], column_holders[v, 1]):
                        total += dy[n, c, p, q] / (row_count[p] * column_count[q])
                dx[n, c, h, v] = total
