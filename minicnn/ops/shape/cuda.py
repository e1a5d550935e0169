"""Moving elements on the GPU: views where the order of memory allows it, else one copy (`copy.cu`).

The row-major elements of an image whose channels lie last are not in its memory's order: reshape and flatten copy it,
unless its height and width are 1 (as after the last pooling). `index` with whole numbers, slices,
None and Ellipsis is a view; for arrays of places see `places.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.axes import Shape
from minicnn.ops.shape import places


def reshape_forward(x: Array, *, shape: Shape) -> Array:
    """The elements of x in row-major order, in another shape"""
    return _rows(x, shape)


def reshape_grad_input(dy: Array, *, x_shape: Shape) -> Array:
    """Back into the shape of x; images with their channels last"""
    return _rows(dy, x_shape)


def flatten_forward(x: Array, *, start_dim: int, end_dim: int) -> Array:
    """The axes start_dim..end_dim as one"""
    many = 1
    for size in x.shape[start_dim : end_dim + 1]:
        many *= size
    return _rows(x, (*x.shape[:start_dim], many, *x.shape[end_dim + 1 :]))


def flatten_grad_input(dy: Array, *, x_shape: Shape) -> Array:
    """Back into the shape of x; images with their channels last"""
    return _rows(dy, x_shape)


def transpose_forward(x: Array, *, dims: Shape) -> Array:
    """Axis k of y is axis dims[k] of x"""
    return x.transpose(dims)


def transpose_grad_input(dy: Array, *, dims: Shape) -> Array:
    """Axis dims[k] of dx is axis k of dy"""
    return dy.transpose(tuple(dims.index(axis) for axis in range(len(dims))))


def index_forward(x: Array, *, index: tuple) -> Array:
    """y = x[index]; without arrays of places a view"""
    return places.gather(x, index) if _has_places(index) else x[index]


def index_grad_input(dy: Array, *, x_shape: Shape, index: tuple) -> Array:
    """dx[index] += dy, 0 elsewhere"""
    dx = new(x_shape, dy.dtype)
    dx.transpose(cuda.memory_order(dx)).fill(0)
    if _has_places(index):
        places.scatter(dy, dx, index)
    else:
        cuda_kernels.copy_into(dx[index], dy)
    return dx


def concatenate_forward(*arrays: Array, dim: int) -> Array:
    """y = [x0, x1, ...]"""
    shape = list(arrays[0].shape)
    shape[dim] = sum(x.shape[dim] for x in arrays)
    y = new(tuple(shape), arrays[0].dtype)
    for piece, x in zip(_pieces(y, [x.shape[dim] for x in arrays], dim), arrays, strict=True):
        cuda_kernels.copy_into(piece, x)
    return y


def concatenate_grad_inputs(dy: Array, *, shapes: tuple[Shape, ...], dim: int) -> tuple[Array, ...]:
    """dx_k = its piece of dy"""
    return tuple(_pieces(dy, [shape[dim] for shape in shapes], dim))


def new(shape: Shape, dtype: Any) -> Array:
    """A new array; images with their channels last."""
    return cuda.empty_images(shape, dtype) if len(shape) == 4 else cuda.empty(shape, dtype)


def _pieces(x: Array, sizes: list[int], dim: int) -> list[Array]:
    """Views of x, one after the other along `dim`."""
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [x[(slice(None),) * dim + (slice(end - size, end),)] for end, size in zip(ends, sizes, strict=True)]


def _rows(x: Array, shape: Shape) -> Array:
    """The elements of x in row-major order, in another shape: a view where x lies in that order."""
    return cuda_kernels.contiguous(x).reshape(shape)


def _has_places(index: tuple) -> bool:
    """Whether the index holds arrays or booleans, not just whole numbers, slices, None and Ellipsis."""
    return any(isinstance(entry, (bool, np.ndarray)) for entry in index)
