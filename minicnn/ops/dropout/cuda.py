"""Dropout on the GPU (`dropout.cu`); its masks are drawn there too."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.dropout import scale

FILE = Path(__file__).with_name("dropout.cu")


def forward(x: Array, mask: Array, *, p: float) -> Array:
    """y = x m / (1 - p)"""
    y, (y_line, x_line, mask_line) = cuda_kernels.lines(x, mask)
    run = cuda_kernels.kernel(FILE, "dropout", REAL=cuda_kernels.real(x))
    run.over(x.size, y_line, x_line, mask_line, scale(p), x.size)
    return y


def grad_input(dy: Array, mask: Array, *, p: float) -> Array:
    """dx = dy m / (1 - p): what forward does to x, done to dy"""
    return forward(dy, mask, p=p)


def draw_mask(shape: tuple[int, ...], p: float, generator: np.random.Generator) -> Array:
    """A boolean array on the GPU, True with probability 1 - p; the generator gives two numbers, the key."""
    mask = cuda.empty_images(shape, np.bool_) if len(shape) == 4 else cuda.empty(shape, np.bool_)
    line = mask.transpose(cuda.memory_order(mask)).reshape(-1)
    first, second = (int(number) for number in generator.integers(0, 2**32, 2, np.uint32))
    run = cuda_kernels.kernel(FILE, "draw_mask", REAL="float")
    run.over(-(-mask.size // 4), line, first, second, round(p * 2**32), mask.size)
    return mask
