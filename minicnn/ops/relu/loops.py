"""ReLU as one compiled loop over the elements, in the order of memory.

Shapes: x, y, dy, dx: all elements of an array as one line, lying in memory as x does.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.lines import from_line, line, memory_order, supports

__all__ = ["forward", "grad_input", "supports"]


def forward(x: Array) -> Array:
    """y = max(x, 0)"""
    order = memory_order(x)
    y = np.empty(x.size, x.dtype)
    _forward(line(x, order), y)
    return from_line(y, x.shape, order)


@kernel
def _forward(x, y):
    # y[i] = max(x[i], 0), parallel over i. Asked as "x <= 0", NaN passes.
    zero = x.dtype.type(0)
    for i in prange(x.size):
        y[i] = zero if x[i] <= zero else x[i]


def grad_input(dy: Array, y: Array) -> Array:
    """dx = dy where y > 0 (or NaN), 0 where y = 0"""
    order = memory_order(y)
    dx = np.empty(y.size, y.dtype)
    _grad_input(line(dy, order), line(y, order), dx)
    return from_line(dx, y.shape, order)


@kernel
def _grad_input(dy, y, dx):
    # dx[i] = dy[i] where y[i] > 0, else 0, parallel over i
    zero = dy.dtype.type(0)
    for i in prange(dy.size):
        dx[i] = zero if y[i] <= zero else dy[i]
