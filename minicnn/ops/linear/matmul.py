"""The fully connected layer as one matrix product, by the blocked kernel of `ops/matmul`.

Shapes: x (N, I), w (J, I), b (J,), y and dy (N, J); N counts all leading axes::

    y^T = w @ x^T + b        dx = dy @ w        dw = dy^T @ x

The kernel wants matrices whose rows are contiguous. w is the largest of them, so w stays as it lies and the small x, y
and dy are turned.
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.linear.loops import grad_bias, rows, supports
from minicnn.ops.matmul.blocked import add_to

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "supports"]


def forward(x: Array, w: Array, b: Array | None) -> Array:
    """y^T = w @ x^T + b"""
    turned = turn(rows(x))
    y = np.zeros((w.shape[0], turned.shape[1]), x.dtype)
    if b is not None:
        y += b[:, None]
    add_to(y, np.ascontiguousarray(w), turned)
    return turn(y).reshape(*x.shape[:-1], w.shape[0])


def grad_input(dy: Array, w: Array) -> Array:
    """dx = dy @ w"""
    dx = np.zeros((*dy.shape[:-1], w.shape[1]), dy.dtype)
    add_to(rows(dx), rows(dy), np.ascontiguousarray(w))
    return dx


def grad_weight(dy: Array, x: Array) -> Array:
    """dw = dy^T @ x"""
    dw = np.zeros((dy.shape[-1], x.shape[-1]), dy.dtype)
    add_to(dw, turn(rows(dy)), rows(x))
    return dw


def turn(matrix: Array) -> Array:
    """The transposed matrix, contiguous."""
    return np.ascontiguousarray(matrix.T)
