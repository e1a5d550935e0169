"""Adaptive average pooling as compiled loops: average pooling with other windows, and kernels of its own for 1 x 1.

Shapes: x and dx (N, C, H, W), y and dy (N, C, P, Q), all contiguous. For an output of 1 x 1 the image is one run of H*W
values, seen as x (N*C, H*W).
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.avg_pool2d.loops import average, holders, spread, supports
from minicnn.ops.windows import Pair

__all__ = ["forward", "grad_input", "supports"]


def forward(x: Array, *, output_size: Pair) -> Array:
    """y[n,c,p,q] = mean of x[n,c,h,w] over floor(p H/P) <= h < ceil((p+1) H/P), w alike"""
    n, c, height, width = x.shape
    x = np.ascontiguousarray(x)
    y = np.empty((n, c, *output_size), x.dtype)
    if output_size == (1, 1):
        _mean(x.reshape(n * c, height * width), y.reshape(n * c))
        return y
    rows, columns = _windows(output_size[0], height), _windows(output_size[1], width)
    average(x, rows, columns, _counts(rows, x.dtype), _counts(columns, x.dtype), y)
    return y


def grad_input(dy: Array, *, x_shape: tuple[int, ...]) -> Array:
    """dx[n,c,h,w] = sum of dy[n,c,p,q] / (pixels of the window) over the windows (p, q) that hold (h, w)"""
    n, c, height, width = x_shape
    dy = np.ascontiguousarray(dy)
    dx = np.empty(x_shape, dy.dtype)
    if dy.shape[2:] == (1, 1):
        _grad_mean(dy.reshape(n * c), dx.reshape(n * c, height * width))
        return dx
    rows, columns = _windows(dy.shape[2], height), _windows(dy.shape[3], width)
    counts = _counts(rows, dy.dtype), _counts(columns, dy.dtype)
    spread(dy, holders(rows, height), holders(columns, width), *counts, dx)
    return dx


def _windows(many: int, size: int) -> Array:
    """Along one axis, the places of each window: floor(p size / many), ceil((p + 1) size / many)."""
    p = np.arange(many)
    return np.stack([p * size // many, -(-(p + 1) * size // many)], axis=1)


def _counts(windows: Array, dtype: np.dtype) -> Array:
    return (windows[:, 1] - windows[:, 0]).astype(dtype)


@kernel
def _mean(x, y):
    # y[i] = sum_j x[i,j] / L for x (planes, L)
    # parallel over planes; inside: j, four running sums side by side, so that one addition need not wait for the last
    planes, L = x.shape
    for i in prange(planes):
        a = b = c = d = y.dtype.type(0)
        for j in range(0, L - L % 4, 4):
            a += x[i, j]
            b += x[i, j + 1]
            c += x[i, j + 2]
            d += x[i, j + 3]
        for j in range(L - L % 4, L):
            a += x[i, j]
        y[i] = ((a + b) + (c + d)) / y.dtype.type(L)


@kernel
def _grad_mean(dy, dx):
    # dx[i,j] = dy[i] / L for dx (planes, L); parallel over planes; inside: j
    planes, L = dx.shape
    for i in prange(planes):
        share = dy[i] / dy.dtype.type(L)
        for j in range(L):
            dx[i, j] = share
