"""Moving elements, in NumPy. Each gradient is the inverse of its forward pass."""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array, is_array
from minicnn.ops.axes import Shape


def reshape_forward(x: Array, *, shape: Shape) -> Array:
    """The elements of x in row-major order, in another shape"""
    return x.reshape(shape)


def reshape_grad_input(dy: Array, *, x_shape: Shape) -> Array:
    """Back into the shape of x"""
    return dy.reshape(x_shape)


def flatten_forward(x: Array, *, start_dim: int, end_dim: int) -> Array:
    """The axes start_dim..end_dim as one"""
    many = int(np.prod(x.shape[start_dim : end_dim + 1]))
    return x.reshape(*x.shape[:start_dim], many, *x.shape[end_dim + 1 :])


def flatten_grad_input(dy: Array, *, x_shape: Shape) -> Array:
    """Back into the shape of x"""
    return dy.reshape(x_shape)


def transpose_forward(x: Array, *, dims: Shape) -> Array:
    """Axis k of y is axis dims[k] of x"""
    return x.transpose(dims)


def transpose_grad_input(dy: Array, *, dims: Shape) -> Array:
    """Axis dims[k] of dx is axis k of dy"""
    return dy.transpose(np.argsort(dims))


def index_forward(x: Array, *, index: tuple) -> Array:
    """y = x[index]"""
    return np.asarray(x[index])


def index_grad_input(dy: Array, *, x_shape: Shape, index: tuple) -> Array:
    """dx[index] += dy, in the order of the index; slices and single numbers name no place twice"""
    dx = np.zeros(x_shape, dy.dtype)
    if any(is_array(entry) for entry in index):
        np.add.at(dx, index, dy)
    else:
        dx[index] = dy
    return dx


def concatenate_forward(*arrays: Array, dim: int) -> Array:
    """y = [x0, x1, ...]"""
    return np.concatenate(arrays, axis=dim)


def concatenate_grad_inputs(dy: Array, *, shapes: tuple[Shape, ...], dim: int) -> tuple[Array, ...]:
    """dx_k = its piece of dy"""
    ends = np.cumsum([shape[dim] for shape in shapes])[:-1]
    return tuple(np.split(dy, ends, axis=dim))
