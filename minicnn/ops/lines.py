"""Arrays as one line of numbers, in the order of memory: what compiled element-by-element loops share.

An image with shape (N, C, H, W) may lie in memory with its channels last. A loop over elements does not care, if all
its arrays lie the same way. So no layout is converted, and the result has the layout of the input.
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.registry import Problem


def supports(problem: Problem) -> str:
    """For algorithms whose loops are compiled for these two dtypes."""
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    return "" if problem.dtype in (np.float32, np.float64) else "dtype must be float32 or float64"


def memory_order(x: Array) -> list[int]:
    """The axes of x, from the one with the longest step in memory to the one with the shortest."""
    return sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))


def line(x: Array, order: list[int]) -> Array:
    """The elements of x with the axes in that order, contiguous: without a copy if they already lie so."""
    return np.asarray(x.transpose(order), order="C").reshape(-1)


def from_line(values: Array, shape: tuple[int, ...], order: list[int]) -> Array:
    """The array of that shape whose `line(..., order)` is `values`."""
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return values.reshape([shape[axis] for axis in order]).transpose(inverse)
