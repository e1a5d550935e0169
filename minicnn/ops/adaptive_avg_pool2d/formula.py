"""Adaptive average pooling as printed, in NumPy: one window (p, q) at a time. The yardstick of all other algorithms.

Shapes: x and dx (N, C, H, W), y and dy (N, C, P, Q).
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.windows import Pair


def forward(x: Array, *, output_size: Pair) -> Array:
    """y[n,c,p,q] = mean of x[n,c,h,w] over floor(p H/P) <= h < ceil((p+1) H/P), w alike"""
    y = np.empty((*x.shape[:2], *output_size), x.dtype)
    for p, q in np.ndindex(*output_size):
        y[:, :, p, q] = x[:, :, *_window(p, q, x.shape, output_size)].mean(axis=(2, 3))
    return y


def grad_input(dy: Array, *, x_shape: tuple[int, ...]) -> Array:
    """Each dy[n,c,p,q] goes back to the window that made it: dx[window] += dy[n,c,p,q] / (pixels of the window)"""
    dx = np.zeros(x_shape, dy.dtype)
    for p, q in np.ndindex(*dy.shape[2:]):
        window = dx[:, :, *_window(p, q, x_shape, dy.shape[2:])]
        window += dy[:, :, p, q, None, None] / (window.shape[2] * window.shape[3])
    return dx


def _window(p: int, q: int, x_shape: tuple[int, ...], out: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of window (p, q)."""
    (_, _, height, width), (rows, columns) = x_shape, out
    return (
        slice(p * height // rows, -(-(p + 1) * height // rows)),
        slice(q * width // columns, -(-(q + 1) * width // columns)),
    )
