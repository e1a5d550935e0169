"""Convolution on the GPU as a matrix product in tiles of shared memory (`tiled.cu`)."""

from __future__ import annotations

import math
from typing import Any

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.conv2d.cuda_common import (
    HERE,
    PASSES,
    Shape,
    grad_bias,
    largest_residue,
    shape_arguments,
    split_over_pixels,
    supports,
    tiles,
    y_shape,
)

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "supports"]

TILE = 16


def _tiled(pass_name: str, like: Array) -> cuda_kernels.Kernel:
    macros = {"REAL": cuda_kernels.real(like), "PASS": PASSES[pass_name], "TILE": TILE}
    return cuda_kernels.kernel(HERE / "tiled.cu", "tiled", **macros)


def forward(x: Array, w: Array, b: Array | None, *, groups: int, **options: Any) -> Array:
    """y: (N, K, P, Q)."""
    shape = shape_arguments(x.shape, w.shape, options)
    n, k, p, q = y_shape(shape)
    y = cuda.empty_images((n, k, p, q), x.dtype)
    grid = tiles(n * p * q, TILE), tiles(k, TILE)
    _tiled("forward", x)(grid, (TILE * TILE,), *(cuda_kernels.channels_last(a) for a in (y, x, w)), b, *shape)
    return y


def grad_input(dy: Array, w: Array, *, x_shape: Shape, groups: int, **options: Any) -> Array:
    """dx: (N, C, H, W)."""
    shape = shape_arguments(x_shape, w.shape, options)
    n, c, *_ = x_shape
    dx = cuda.empty_images(x_shape, dy.dtype)
    grid = tiles(n * largest_residue(x_shape, options), TILE), tiles(c, TILE), math.prod(options["stride"])
    _tiled("grad_input", dy)(grid, (TILE * TILE,), *(cuda_kernels.channels_last(a) for a in (dx, dy, w)), None, *shape)
    return dx


def grad_weight(dy: Array, x: Array, *, w_shape: Shape, groups: int, **options: Any) -> Array:
    """dw: (K, C, R, S)."""
    shape = shape_arguments(x.shape, w_shape, options)
    k, c, r, s = w_shape
    grid = tiles(k, TILE), tiles(c * r * s, TILE)
    return split_over_pixels(_tiled("grad_weight", dy), grid, TILE * TILE, dy, x, w_shape, shape)
