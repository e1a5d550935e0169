"""Reductions as printed, in NumPy. `dim` holds all axes to reduce; in the gradients dy and y have length 1 there."""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.axes import Shape


def sum_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = sum x"""
    return x.sum(axis=dim, keepdims=keepdim)


def sum_grad_input(dy: Array, *, x_shape: Shape) -> Array:
    """dx = dy"""
    return np.broadcast_to(dy, x_shape).copy()


def mean_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = 1/B sum x"""
    count = x.dtype.type(np.prod([x.shape[axis] for axis in dim], dtype=int))
    return x.sum(axis=dim, keepdims=keepdim) / count


def mean_grad_input(dy: Array, *, x_shape: Shape) -> Array:
    """dx = dy / B; B = elements of x for each element of y"""
    count = dy.dtype.type(np.prod(x_shape, dtype=int) // max(1, dy.size))
    return np.broadcast_to(dy / count, x_shape).copy()


def max_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = max x; NumPy's maximum lets NaN win"""
    return x.max(axis=dim, keepdims=keepdim)


def max_grad_input(dy: Array, x: Array, y: Array, *, dim: Shape, share: bool) -> Array:
    """dx = dy at the first maximum (along one axis), or dy / (number of maxima) at each"""
    if not share and dim:
        dx = np.zeros_like(x)
        first = np.argmax(x, axis=dim[0], keepdims=True)  # the first NaN if there is one
        np.put_along_axis(dx, first, dy, dim[0])
        return dx
    largest = (x == y) | (np.isnan(x) & np.isnan(y))
    count = largest.sum(axis=dim, keepdims=True).astype(x.dtype)
    return np.where(largest, dy / count, x.dtype.type(0))
