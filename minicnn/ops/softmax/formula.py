"""Softmax and its logarithm as printed, in NumPy. The yardstick of all other algorithms.

Shapes: x, y and dy alike, of any shape; sums run along the axis `dim`.
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array


def softmax_forward(x: Array, *, dim: int) -> Array:
    """y[i] = exp(x[i] - m) / sum_j exp(x[j] - m), m = max_j x[j]"""
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf: a row without a finite maximum is NaN
        e = np.exp(x - x.max(axis=dim, keepdims=True))
    return e / e.sum(axis=dim, keepdims=True)


def softmax_grad_input(dy: Array, y: Array, *, dim: int) -> Array:
    """dx[i] = y[i] (dy[i] - sum_j dy[j] y[j])"""
    return y * (dy - (dy * y).sum(axis=dim, keepdims=True))


def log_softmax_forward(x: Array, *, dim: int) -> Array:
    """y[i] = x[i] - m - log sum_j exp(x[j] - m), m = max_j x[j]"""
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = x - x.max(axis=dim, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=dim, keepdims=True))


def log_softmax_grad_input(dy: Array, y: Array, *, dim: int) -> Array:
    """dx[i] = dy[i] - exp(y[i]) sum_j dy[j]"""
    return dy - np.exp(y) * dy.sum(axis=dim, keepdims=True)
