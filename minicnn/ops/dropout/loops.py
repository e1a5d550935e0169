"""Dropout as one compiled loop over the elements, in the order of memory.

Shapes: x, mask, y: all elements of an array as one line, lying in memory as x does. The gradient is the same loop over
dy.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.dropout import scale
from minicnn.ops.lines import from_line, line, memory_order, supports

__all__ = ["forward", "grad_input", "supports"]


def forward(x: Array, mask: Array, *, p: float) -> Array:
    """y = x m / (1 - p)"""
    order = memory_order(x)
    y = np.empty(x.size, x.dtype)
    _forward(line(x, order), line(mask, order), x.dtype.type(scale(p)), y)
    return from_line(y, x.shape, order)


@kernel
def _forward(x, mask, factor, y):
    # y[i] = x[i] * (factor or 0), parallel over i. Multiplying by zero keeps NaN.
    zero = x.dtype.type(0)
    for i in prange(x.size):
        y[i] = x[i] * (factor if mask[i] else zero)


def grad_input(dy: Array, mask: Array, *, p: float) -> Array:
    """dx = dy m / (1 - p): what forward does to x, done to dy"""
    return forward(dy, mask, p=p)
