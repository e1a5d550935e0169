"""Adaptive average pooling on the GPU: average pooling's kernels with other windows, and own ones for 1 x 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minicnn.backends import cuda, cuda_channels, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.avg_pool2d.cuda import average, spread
from minicnn.ops.registry import Problem
from minicnn.ops.windows import Pair

FILE = Path(__file__).with_name("mean.cu")
UNUSED = (0,) * 7  # kernel, stride and padding: these windows need none


def supports(problem: Problem) -> str:
    """Sizes whose products, which say where windows begin, have 32 bits."""
    given: Any = problem.shapes[0]
    other = problem.options["output_size" if problem.pass_name == "forward" else "x_shape"][-2:]
    largest = max((a + 1) * (b + 1) for a, b in zip(given[2:], other, strict=True))
    return "" if largest < 2**31 else "height times height of the output below 2^31, width alike"


def forward(x: Array, *, output_size: Pair) -> Array:
    """y[n,c,p,q] = mean of x[n,c,h,w] over floor(p H/P) <= h < ceil((p+1) H/P), w alike"""
    if output_size != (1, 1):
        return average(x, output_size, *UNUSED, adaptive=True)
    images = cuda_kernels.channels_last(x)
    n, height, width, c = images.shape
    y = cuda.empty((n, 1, 1, c), x.dtype)
    run, grid, block = _kernel("mean_of_images", y, images)
    run(grid, block, y, images, c, height * width)
    return y.transpose(0, 3, 1, 2)


def grad_input(dy: Array, *, x_shape: tuple[int, ...]) -> Array:
    """dx[n,c,h,w] = sum of dy[n,c,p,q] / (pixels of the window) over the windows (p, q) that hold (h, w)"""
    if dy.shape[2:] != (1, 1):
        return spread(dy, x_shape, *UNUSED, adaptive=True)
    gradients = cuda_kernels.channels_last(dy)
    n, c, height, width = x_shape
    dx = cuda.empty((n, height, width, c), dy.dtype)
    run, grid, block = _kernel("mean_grad_input", gradients, dx)
    run(grid, block, dx, gradients, c, height * width)
    return dx.transpose(0, 3, 1, 2)


def _kernel(name: str, means: Array, images: Array) -> tuple[cuda_kernels.Kernel, Any, Any]:
    """A kernel, and its blocks: each an image and some channels."""
    n, height, width, c = images.shape
    lanes = cuda_channels.lanes(means, images)
    block = cuda_channels.block(c // lanes, height * width)
    run = cuda_kernels.kernel(FILE, name, REAL=cuda_kernels.real(images), V=lanes)
    return run, (n, -(-c // (lanes * block[0]))), block
