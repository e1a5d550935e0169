"""Max pooling on the GPU (`max_pool2d.cu`): threads over channels; places are int32, channels last like the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backends import cuda, cuda_channels, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.registry import Problem
from minicnn.ops.windows import Pair, output_size

FILE = Path(__file__).with_name("max_pool2d.cu")
PLACES = {np.dtype(np.int32): "int", np.dtype(np.int64): "long long"}


def supports(problem: Problem) -> str:
    """Images whose places are whole numbers of 32 bits."""
    shape: Any = problem.options.get("x_shape", problem.shapes[0])
    return "" if shape[2] * shape[3] < 2**31 else "fewer than 2^31 pixels"


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    """y[n,c,p,q] = max_{r,s} x[n, c, p*stride + r*dilation - padding, q*stride + s*dilation - padding], and where"""
    n, c, height, width = x.shape
    windows = kernel_size, stride, padding, dilation
    steps = list(zip(*windows, strict=True))
    p, q = (output_size(x.shape[2 + a], *steps[a], ceil_mode=ceil_mode) for a in (0, 1))
    images = cuda_kernels.channels_last(x)
    y, winner = cuda.empty((n, p, q, c), x.dtype), cuda.empty((n, p, q, c), np.int32)
    run, grid, block = _kernel("max_pool2d_forward", images, y, winner)
    run(grid, block, y, winner, images, c, height, width, p, q, *(v for pair in windows for v in pair))
    return y.transpose(0, 3, 1, 2), winner.transpose(0, 3, 1, 2)


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
    """dx[n,c,h,w] = sum of dy[n,c,p,q] over the windows (p, q) that may hold (h, w) and whose winner it is"""
    n, c, height, width = x_shape
    windows = kernel_size, stride, padding, dilation
    gradients, places = cuda_kernels.channels_last(dy), cuda_kernels.channels_last(winner)
    dx = cuda.empty((n, height, width, c), dy.dtype)
    run, grid, block = _kernel("max_pool2d_grad_input", gradients, dx, places)
    values = (v for pair in windows for v in pair)
    run(grid, block, dx, gradients, places, c, height, width, *dy.shape[2:], *values)
    return dx.transpose(0, 3, 1, 2)


def widen(winner: Array) -> Array:
    """The places as int64."""
    if winner.dtype == np.int64:
        return winner
    places = cuda_kernels.channels_last(winner)
    wide = cuda.empty(places.shape, np.int64)
    cuda_kernels.kernel(FILE, "widen", REAL="float", V=1, PLACE="int").over(places.size, wide, places, places.size)
    return wide.transpose(0, 3, 1, 2)


def _kernel(name: str, first: Array, result: Array, places: Array) -> tuple[cuda_kernels.Kernel, Any, Any]:
    """A kernel, and the blocks that make `result` (N, rows, columns, C)."""
    lanes = cuda_channels.lanes(first, result, places)
    grid, block = cuda_channels.of_pixels(result.shape, lanes)
    macros = {"REAL": cuda_kernels.real(first), "V": lanes, "PLACE": PLACES[places.dtype]}
    return cuda_kernels.kernel(FILE, name, **macros), grid, block
