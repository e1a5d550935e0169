"""ReLU on the GPU (`relu.cu`)."""

from __future__ import annotations

from pathlib import Path

from minicnn.backends import cuda_kernels
from minicnn.backends.arrays import Array

FILE = Path(__file__).with_name("relu.cu")


def forward(x: Array) -> Array:
    """y = max(x, 0), in the memory layout of x."""
    y, (y_line, x_line) = cuda_kernels.lines(x)
    cuda_kernels.kernel(FILE, "relu_forward", REAL=cuda_kernels.real(x)).over(x.size, y_line, x_line, x.size)
    return y


def grad_input(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0 (or NaN), in the memory layout of y."""
    dx, (dx_line, y_line, dy_line) = cuda_kernels.lines(y, dy)
    run = cuda_kernels.kernel(FILE, "relu_grad_input", REAL=cuda_kernels.real(y))
    run.over(y.size, dx_line, dy_line, y_line, y.size)
    return dx
