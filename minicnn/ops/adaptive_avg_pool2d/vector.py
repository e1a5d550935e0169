"""Global average pooling (output 1 x 1) on `Images`: vectors over channels, one pass over memory.

Shapes: x, dx: the `flat` of images (N, C, H, W); y, dy (N, C, 1, 1), contiguous; sums, shares (N, channels) in one
line.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.images import Images
from minicnn.backends.jit import kernel
from minicnn.backends.scratch import Scratch
from minicnn.backends.simd import lanes, vload, vstore
from minicnn.ops.lines import supports as supports_lines
from minicnn.ops.registry import Problem
from minicnn.ops.rows import add_row, clear, geometry, is_small, pad, row_start
from minicnn.ops.windows import Pair


def supports(problem: Problem) -> str:
    """Global pooling only."""
    out = problem.options["output_size"] if problem.pass_name == "forward" else (problem.shapes[0] or ())[2:]
    return supports_lines(problem) if tuple(out) == (1, 1) else "the output must be 1 x 1"


def forward(x: Array, *, output_size: Pair) -> Array:
    """y[n,c] = mean of x[n,c,h,w] over h and w"""
    images = Images.of(x)
    y = np.empty((*x.shape[:2], *output_size), x.dtype)
    with Scratch(x.shape[0] * images.channels, x.dtype) as sums:
        _mean(images.flat, geometry(images), sums, y.reshape(x.shape[:2]))
    return y


@kernel
def _mean(x, place, sums, y):
    # y[n, c] = sum of x[n, :, :, c] / (H W); parallel over n; inside: rows, four pixels, channels
    N = place[0]
    if is_small(place):
        for n in range(N):
            _image_mean(x, place, sums, y, n)
    else:
        for n in prange(N):
            _image_mean(x, place, sums, y, n)


@kernel(parallel=False)
def _image_mean(x, place, sums, y, n):
    # image n of `_mean`
    H, W, channels = place[1], place[2], place[3]
    clear(sums, n * channels, channels)
    for h in range(H):
        add_row(x, row_start(place, n * H + h), W, channels, sums, n * channels)
    for c in range(y.shape[1]):
        y[n, c] = sums[n * channels + c] / y.dtype.type(H * W)


def grad_input(dy: Array, *, x_shape: tuple[int, ...]) -> Array:
    """dx[n,c,h,w] = dy[n,c] / (H W)"""
    dx = Images(x_shape, dy.dtype)
    with Scratch(x_shape[0] * dx.channels, dy.dtype) as shares:
        _grad_mean(np.ascontiguousarray(dy).reshape(x_shape[:2]), geometry(dx), shares, dx.flat)
    return dx.array


@kernel
def _grad_mean(dy, place, shares, dx):
    # dx[n, h, w, c] = dy[n, c] / (H W); parallel over n; inside: rows, pixels, channels
    N = place[0]
    if is_small(place):
        for n in range(N):
            _image_grad(dy, place, shares, dx, n)
    else:
        for n in prange(N):
            _image_grad(dy, place, shares, dx, n)


@kernel(parallel=False)
def _image_grad(dy, place, shares, dx, n):
    # image n of `_grad_mean`
    H, W, channels = place[1], place[2], place[3]
    pad(dy[n], channels, shares, n * channels, 1 / (H * W))
    for h in range(H):
        at = row_start(place, n * H + h)
        for w in range(at, at + W * channels, channels):
            for c in range(0, channels, lanes(dx)):
                vstore(dx, w + c, vload(shares, n * channels + c))
