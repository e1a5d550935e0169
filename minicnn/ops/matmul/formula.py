"""Matrix product as printed, in NumPy: one sum over the common axis. The yardstick of all other algorithms.

Shapes: a (..., M, K), b (..., K, N), y and dy (..., M, N); the leading axes of a and b follow NumPy's broadcasting.
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array


def forward(a: Array, b: Array) -> Array:
    """y[...,m,n] = sum_k a[...,m,k] b[...,k,n]"""
    return np.einsum("...mk,...kn->...mn", a, b)


def grad_a(dy: Array, b: Array, *, a_shape: tuple[int, ...]) -> Array:
    """da[...,m,k] = sum_n dy[...,m,n] b[...,k,n]"""
    return _sum_repeated(np.einsum("...mn,...kn->...mk", dy, b), a_shape)


def grad_b(dy: Array, a: Array, *, b_shape: tuple[int, ...]) -> Array:
    """db[...,k,n] = sum_m a[...,m,k] dy[...,m,n]"""
    return _sum_repeated(np.einsum("...mk,...mn->...kn", a, dy), b_shape)


def _sum_repeated(x: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of an operand that was repeated along some leading axes is the sum over these axes."""
    new = x.ndim - len(shape)
    x = x.sum(axis=tuple(range(new)))
    return x.sum(axis=tuple(i for i in range(x.ndim) if shape[i] == 1 and x.shape[i] != 1), keepdims=True)
