"""Averages over windows on the GPU (`average.cu`): threads over channels. Adaptive pooling uses them too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minicnn.backends import cuda, cuda_channels, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.windows import Pair, output_size

FILE = Path(__file__).with_name("average.cu")


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool
) -> Array:
    """y[n,c,p,q] = 1/A[p,q] sum of x[n,c,h,w] over the rows and columns of window (p, q)"""
    out = [output_size(x.shape[2 + a], kernel_size[a], stride[a], padding[a], 1, ceil_mode=ceil_mode) for a in (0, 1)]
    return average(x, (out[0], out[1]), *kernel_size, *stride, *padding, int(count_include_pad))


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
    return spread(dy, x_shape, *kernel_size, *stride, *padding, int(count_include_pad))


def average(x: Array, out: Pair, *windows: int, adaptive: bool = False) -> Array:
    """The mean of each window; `windows`: kernel, stride, padding, and whether padding counts."""
    images = cuda_kernels.channels_last(x)
    n, height, width, c = images.shape
    y = cuda.empty((n, *out, c), x.dtype)
    run, grid, block = _kernel("average", images, y, adaptive)
    run(grid, block, y, images, c, height, width, *out, *windows)
    return y.transpose(0, 3, 1, 2)


def spread(dy: Array, x_shape: tuple[int, ...], *windows: int, adaptive: bool = False) -> Array:
    """The gradient of `average` with respect to x."""
    gradients = cuda_kernels.channels_last(dy)
    n, c, height, width = x_shape
    dx = cuda.empty((n, height, width, c), dy.dtype)
    run, grid, block = _kernel("average_grad_input", gradients, dx, adaptive)
    run(grid, block, dx, gradients, c, height, width, *dy.shape[2:], *windows)
    return dx.transpose(0, 3, 1, 2)


def _kernel(name: str, first: Array, result: Array, adaptive: bool) -> tuple[cuda_kernels.Kernel, Any, Any]:
    """A kernel, and the blocks that make `result` (N, rows, columns, C)."""
    lanes = cuda_channels.lanes(first, result)
    grid, block = cuda_channels.of_pixels(result.shape, lanes)
    macros = {"REAL": cuda_kernels.real(first), "V": lanes, "ADAPTIVE": int(adaptive)}
    return cuda_kernels.kernel(FILE, name, **macros), grid, block
