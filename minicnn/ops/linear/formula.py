"""The fully connected layer as printed, in NumPy: one sum over the inputs. The yardstick of all other algorithms.

Shapes: x (..., I), w (J, I), b (J,), y and dy (..., J).
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array


def forward(x: Array, w: Array, b: Array | None) -> Array:
    """y[...,j] = b[j] + sum_i x[...,i] w[j,i]"""
    y = np.einsum("...i,ji->...j", x, w)
    return y if b is None else y + b


def grad_input(dy: Array, w: Array) -> Array:
    """dx[...,i] = sum_j dy[...,j] w[j,i]"""
    return np.einsum("...j,ji->...i", dy, w)


def grad_weight(dy: Array, x: Array) -> Array:
    """dw[j,i] = sum_n dy[n,j] x[n,i], n over all leading axes"""
    n = dy.size // dy.shape[-1]
    return np.einsum("nj,ni->ji", dy.reshape(n, dy.shape[-1]), x.reshape(n, x.shape[-1]))


def grad_bias(dy: Array) -> Array:
    """db[j] = sum_n dy[n,j], n over all leading axes"""
    return dy.sum(axis=tuple(range(dy.ndim - 1)))
