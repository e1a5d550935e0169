"""Dropout as printed, in NumPy."""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.dropout import scale


def forward(x: Array, mask: Array, *, p: float) -> Array:
    """y = x m / (1 - p)"""
    with np.errstate(invalid="ignore"):  # infinity * 0 is NaN, and is meant to be
        return np.asarray(x * (mask * x.dtype.type(scale(p))))


def grad_input(dy: Array, mask: Array, *, p: float) -> Array:
    """dx = dy m / (1 - p): what forward does to x, done to dy"""
    return forward(dy, mask, p=p)
