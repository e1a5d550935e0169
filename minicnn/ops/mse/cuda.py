"""Mean squared error on the GPU: element by element, then a sum in float64."""

from __future__ import annotations

from minicnn.backends.arrays import Array
from minicnn.ops.elementwise.cuda import binary
from minicnn.ops.reduce.folds import sum_over


def forward(x: Array, target: Array, *, reduction: str) -> Array:
    """y = mean of (x - target)^2 over all entries"""
    squares = binary("squared_difference", x, target)
    if reduction == "none":
        return squares
    return sum_over(squares, tuple(range(x.ndim)), mean=reduction == "mean")


def grad_input(dy: Array, x: Array, target: Array, *, reduction: str) -> Array:
    """dx = dy 2 (x - target) / number of entries"""
    count = max(1, x.size) if reduction == "mean" else 1
    return binary("multiply", dy, binary("twice_difference_over", x, target, count))


def grad_target(dy: Array, x: Array, target: Array, *, reduction: str) -> Array:
    """dtarget = -dx"""
    return grad_input(dy, target, x, reduction=reduction)
