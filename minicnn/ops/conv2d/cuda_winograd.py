"""Winograd's convolution F(4x4, 3x3) on the GPU (`winograd.cu`): kernels 3x3 with stride 1, float32; where it is named.

Its rounding error is near ten times that of a sum of products, and one NaN in the input spreads over its tile.
"""

from __future__ import annotations

import functools
from typing import Any

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.conv2d import cuda_warps
from minicnn.ops.conv2d.cuda_common import HERE, PASSES, Shape, tiles
from minicnn.ops.conv2d.cuda_product import Tile, Work, cut, full, padded, supports_aligned
from minicnn.ops.registry import Problem

__all__ = ["forward", "grad_input", "supports"]

OUTPUTS, PRODUCTS = 4, 36  # a tile's side of outputs; its inputs
MOST_NUMBERS = 2**26  # of V and M together, 256 MiB: more images are done one group after the other


def forward(x: Array, w: Array, b: Array | None, *, padding: tuple[int, int], **_: Any) -> Array:
    """y: (N, K, P, Q)."""
    n, _, h, width = x.shape
    (k, c, *_), (ph, pw) = w.shape, padding
    y = cuda.empty((n, h + 2 * ph - 2, width + 2 * pw - 2, full(k)), x.dtype)
    bias = None if b is None else padded(cuda_kernels.contiguous(b))
    _convolve(y, padded(cuda_kernels.channels_last(x)), _filters(w, False, full(c), full(k)), bias, padding)
    return cut(y, (*y.shape[:3], k)).transpose(0, 3, 1, 2)


def grad_input(dy: Array, w: Array, *, x_shape: Shape, padding: tuple[int, int], **_: Any) -> Array:
    """dx: (N, C, H, W), a convolution of dy with w flipped."""
    n, c, h, width = x_shape
    dx = cuda.empty((n, h, width, full(c)), dy.dtype)
    filters = _filters(w, True, full(w.shape[0]), full(c))
    _convolve(dx, padded(cuda_kernels.channels_last(dy)), filters, None, (2 - padding[0], 2 - padding[1]))
    return cut(dx, (n, h, width, c)).transpose(0, 3, 1, 2)


def _filters(w: Array, flipped: bool, rows: int, columns: int) -> Array:
    """U: (36, rows, columns)."""
    u = cuda.empty((PRODUCTS, rows, columns), w.dtype)
    transform = cuda_kernels.kernel(HERE / "winograd.cu", "winograd_filters")
    transform.over(rows * columns, u, cuda_kernels.channels_last(w), flipped, *w.shape[:2], rows, columns)
    return u


def _convolve(y: Array, x: Array, u: Array, bias: Array | None, padding: tuple[int, int]) -> None:
    """Fill y (N, P, Q, K) from x (N, H, W, C), a group of images after the other."""
    n, p, q, k = y.shape
    _, h, width, c = x.shape
    tiles_h, tiles_w = tiles(p, OUTPUTS), tiles(q, OUTPUTS)
    group = max(1, min(n, MOST_NUMBERS // (PRODUCTS * tiles_h * tiles_w * (c + k))))
    v = cuda.empty((PRODUCTS, group * tiles_h * tiles_w, c), x.dtype)
    m = cuda.empty((PRODUCTS, group * tiles_h * tiles_w, k), x.dtype)
    transform = cuda_kernels.kernel(HERE / "winograd.cu", "winograd_input")
    back = cuda_kernels.kernel(HERE / "winograd.cu", "winograd_output")
    for first in range(0, n, group):
        images, results = x[first : first + group], y[first : first + group]
        count = images.shape[0]
        rows = count * tiles_h * tiles_w
        transform.over(rows * c, v, images, count, h, width, c, tiles_h, tiles_w, *padding)
        _multiply(m, v, u, rows, k, c)
        back.over(rows * k, results, m, bias, count, p, q, k, tiles_h, tiles_w)


def _multiply(m: Array, v: Array, u: Array, rows: int, columns: int, depth: int) -> None:
    """M[i] = V[i] U[i] for all 36: convolutions with one tap, of `rows` images of one pixel."""
    tile = _tile(rows, columns, depth)
    macros = {"PASS": PASSES["forward"], "RELU": 0, **dict(tile.macros)}
    shape = rows, 1, 1, depth, columns, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1
    run = cuda_kernels.kernel(HERE / "warps.cu", "warps", **macros)
    run((tile.blocks(rows, columns), PRODUCTS), (tile.threads,), m, v, u, None, None, *shape)


@functools.lru_cache(4096)
def _tile(rows: int, columns: int, depth: int) -> Tile:
    work = Work("forward", rows, columns, depth, PRODUCTS)
    return min(cuda_warps.RATES, key=lambda tile: cuda_warps.seconds(tile, 1, work))


def supports(problem: Problem) -> str:
    """3x3, stride 1, no dilation, no groups, float32."""
    rule = supports_aligned(problem)
    if rule:
        return rule
    options, w_shape = problem.options, problem.shapes[1]
    if w_shape is None or tuple(w_shape[2:]) != (3, 3):
        return "the kernel must be 3x3"
    if options["stride"] != (1, 1) or options["dilation"] != (1, 1):
        return "stride and dilation must be 1"
    return "" if max(options["padding"]) <= 2 else "padding must be at most 2"
