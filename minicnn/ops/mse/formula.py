"""Mean squared error as printed, in NumPy. The yardstick of all other algorithms.

Shapes: x and target alike; y is a single number, or of that shape with reduction "none"; dy as y.
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array


def forward(x: Array, target: Array, *, reduction: str) -> Array:
    """y = mean of (x - target)^2 over all entries"""
    squares = (x - target) ** 2
    if reduction == "none":
        return np.asarray(squares, x.dtype)
    total = squares.sum()
    with np.errstate(invalid="ignore"):  # the mean of no entries is NaN
        return np.asarray(total / x.size if reduction == "mean" else total, x.dtype)


def grad_input(dy: Array, x: Array, target: Array, *, reduction: str) -> Array:
    """dx = dy 2 (x - target) / number of entries"""
    count = max(1, x.size) if reduction == "mean" else 1
    return np.asarray(dy * (2 * (x - target) / count), x.dtype)


def grad_target(dy: Array, x: Array, target: Array, *, reduction: str) -> Array:
    """dtarget = -dx"""
    return np.asarray(-grad_input(dy, x, target, reduction=reduction))
