"""Softmax and its logarithm on the GPU (`softmax.cu`), along any axis of arrays as they lie in memory."""

from __future__ import annotations

from pathlib import Path

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.reduce.folds import THREADS, geometry, split

FILE = Path(__file__).with_name("softmax.cu")


def softmax_forward(x: Array, *, dim: int) -> Array:
    """y[i] = exp(x[i] - m) / sum_j exp(x[j] - m), m = max_j x[j]"""
    return _run("softmax_forward", 0, dim, x)


def softmax_grad_input(dy: Array, y: Array, *, dim: int) -> Array:
    """dx[i] = y[i] (dy[i] - sum_j dy[j] y[j])"""
    return _run("softmax_grad_input", 0, dim, y, dy)


def log_softmax_forward(x: Array, *, dim: int) -> Array:
    """y[i] = x[i] - m - log sum_j exp(x[j] - m), m = max_j x[j]"""
    return _run("softmax_forward", 1, dim, x)


def log_softmax_grad_input(dy: Array, y: Array, *, dim: int) -> Array:
    """dx[i] = dy[i] - exp(y[i]) sum_j dy[j]"""
    return _run("softmax_grad_input", 1, dim, y, dy)


def _run(name: str, logarithm: int, dim: int, x: Array, *before: Array) -> Array:
    """Launch a kernel on (result, *before, x), in the memory order of x."""
    result, lines = cuda_kernels.lines(x, *before)
    a, r, b = split(x, cuda.memory_order(x), dim)
    tx, ty, blocks = geometry(a, r, b)
    run = cuda_kernels.kernel(FILE, name, REAL=cuda_kernels.real(x), LOGARITHM=logarithm)
    run((blocks,), (THREADS,), lines[0], *lines[2:], lines[1], a, r, b, tx, ty)
    return result
