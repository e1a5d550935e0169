"""The fully connected layer on the GPU: each pass is one matrix product (`minicnn/ops/matmul/product.cu`)."""

from __future__ import annotations

import math

from minicnn.backends import cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.matmul.cuda import product
from minicnn.ops.reduce.folds import sum_over


def forward(x: Array, w: Array, b: Array | None) -> Array:
    """y = x @ w^T + b"""
    return product(_rows(x), w.transpose(1, 0), b).reshape((*x.shape[:-1], w.shape[0]))


def grad_input(dy: Array, w: Array) -> Array:
    """dx = dy @ w"""
    return product(_rows(dy), w).reshape((*dy.shape[:-1], w.shape[1]))


def grad_weight(dy: Array, x: Array) -> Array:
    """dw = dy^T @ x, rows over all leading axes"""
    return product(_rows(dy).transpose(1, 0), _rows(x))


def grad_bias(dy: Array) -> Array:
    """db = sum of dy over all leading axes"""
    return sum_over(dy, tuple(range(dy.ndim - 1)))


def _rows(x: Array) -> Array:
    """x as a matrix: a view, but for more axes that do not lie in order."""
    return x if x.ndim == 2 else cuda_kernels.contiguous(x).reshape((math.prod(x.shape[:-1]), x.shape[-1]))
