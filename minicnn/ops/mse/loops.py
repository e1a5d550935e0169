"""Mean squared error as plain loops, compiled.

Shapes: x, target and dy flat, (N,), contiguous. The sum is taken in float64: one partial sum for each BLOCK of entries,
and these are added in order.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.registry import Problem

BLOCK = 4096


def supports(problem: Problem) -> str:
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    return "" if problem.dtype in (np.float32, np.float64) else "dtype must be float32 or float64"


def forward(x: Array, target: Array, *, reduction: str) -> Array:
    """y = mean of (x - target)^2 over all entries"""
    if reduction == "none":
        y = np.empty(x.shape, x.dtype)
        _squares(_flat(x), _flat(target), _flat(y))
        return y
    parts = np.zeros(-(-x.size // BLOCK))
    _sums(_flat(x), _flat(target), parts)
    total = parts.sum()
    with np.errstate(invalid="ignore"):  # the mean of no entries is NaN
        return np.asarray(total / x.size if reduction == "mean" else total, x.dtype)


@kernel
def _squares(x, target, y):
    # parallel over the entries
    for i in prange(x.size):
        y[i] = (x[i] - target[i]) ** 2


@kernel
def _sums(x, target, parts):
    # parallel over blocks; inside: the entries of a block
    for block in prange(parts.size):
        total = 0.0
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            total += (x[i] - target[i]) ** 2
        parts[block] = total


def grad_input(dy: Array, x: Array, target: Array, *, reduction: str) -> Array:
    """dx = dy 2 (x - target) / number of entries"""
    return _gradient(dy, x, target, 2, reduction)


def grad_target(dy: Array, x: Array, target: Array, *, reduction: str) -> Array:
    """dtarget = -dx"""
    return _gradient(dy, x, target, -2, reduction)


def _gradient(dy: Array, x: Array, target: Array, factor: int, reduction: str) -> Array:
    scale = x.dtype.type(factor / max(1, x.size) if reduction == "mean" else factor)
    dx = np.empty(x.shape, x.dtype)
    _fill(_flat(np.full(x.shape, dy, x.dtype)), _flat(x), _flat(target), scale, _flat(dx))
    return dx


@kernel
def _fill(dy, x, target, scale, dx):
    # parallel over the entries
    for i in prange(x.size):
        dx[i] = dy[i] * (scale * (x[i] - target[i]))


def _flat(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(x.size)
