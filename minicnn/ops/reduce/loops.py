"""Reductions as compiled loops.

Shapes: x and dx as matrices (A, B), contiguous: one row for each element of y, with the B elements that it is made of
in row-major order; y and dy (A,).

A sum is cut into blocks of BLOCK elements: so a single long row gives work to all threads, and the rounding error grows
with the block, not with the row. The cut depends on the problem alone, so the bits do not depend on the threads.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.axes import Shape
from minicnn.ops.lines import supports

sum_supports = mean_supports = max_supports = supports

BLOCK = 4096


def _order(ndim: int, dim: Shape) -> list[int]:
    """All axes, those to reduce last."""
    return [axis for axis in range(ndim) if axis not in dim] + list(dim)


def _matrix(x: Array, dim: Shape) -> Array:
    """x as a matrix (A, B)."""
    rows = prod(size for axis, size in enumerate(x.shape) if axis not in dim)
    columns = prod(x.shape[axis] for axis in dim)
    return np.asarray(x.transpose(_order(x.ndim, dim)), order="C").reshape(rows, columns)


def _from_matrix(matrix: Array, x_shape: Shape, dim: Shape) -> Array:
    """The array of shape `x_shape` whose matrix this is."""
    order = _order(len(x_shape), dim)
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return matrix.reshape([x_shape[axis] for axis in order]).transpose(inverse)


def _y_shape(x_shape: Shape, dim: Shape, keepdim: bool) -> list[int]:
    return [1 if axis in dim else size for axis, size in enumerate(x_shape) if keepdim or axis not in dim]


def _reduced(x_shape: Shape, kept: Shape) -> Shape:
    """The axes along which dy has length 1 and x has not."""
    return tuple(axis for axis, size in enumerate(x_shape) if kept[axis] != size)


def sum_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = sum x"""
    matrix = _matrix(x, dim)
    y = np.empty(matrix.shape[0], x.dtype)
    parts = np.empty((matrix.shape[0], -(-matrix.shape[1] // BLOCK)), x.dtype)
    _sum(matrix, parts, y, BLOCK)
    return y.reshape(_y_shape(x.shape, dim, keepdim))


@kernel
def _sum(x, parts, y, size):
    # parts[a, k] = sum of block k of row a, parallel over (a, k); then y[a] = sum_k parts[a, k], parallel over a
    A, B = x.shape
    K = parts.shape[1]
    for ak in prange(A * K):
        a, k = ak // K, ak % K
        total = x.dtype.type(0)
        for b in range(k * size, min(B, (k + 1) * size)):
            total += x[a, b]
        parts[a, k] = total
    for a in prange(A):
        total = x.dtype.type(0)
        for k in range(K):
            total += parts[a, k]
        y[a] = total


def sum_grad_input(dy: Array, *, x_shape: Shape) -> Array:
    """dx = dy"""
    dim = _reduced(x_shape, dy.shape)
    dx = np.empty((dy.size, prod(x_shape[axis] for axis in dim)), dy.dtype)
    _spread(np.ascontiguousarray(dy).reshape(-1), dx)
    return _from_matrix(dx, x_shape, dim)


@kernel
def _spread(dy, dx):
    # dx[a, b] = dy[a], parallel over a
    A, B = dx.shape
    for a in prange(A):
        for b in range(B):
            dx[a, b] = dy[a]


def mean_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = 1/B sum x"""
    return sum_forward(x, dim=dim, keepdim=keepdim) / x.dtype.type(prod(x.shape[axis] for axis in dim))


def mean_grad_input(dy: Array, *, x_shape: Shape) -> Array:
    """dx = dy / B"""
    return sum_grad_input(dy / dy.dtype.type(prod(x_shape) // max(1, dy.size)), x_shape=x_shape)


def max_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = max x"""
    matrix = _matrix(x, dim)
    y = np.empty(matrix.shape[0], x.dtype)
    _max(matrix, y)
    return y.reshape(_y_shape(x.shape, dim, keepdim))


@kernel
def _max(x, y):
    # y[a] = max_b x[a, b], parallel over a; NaN replaces everything, and nothing is larger than NaN
    A, B = x.shape
    for a in prange(A):
        best = x[a, 0]
        for b in range(1, B):
            if x[a, b] > best or x[a, b] != x[a, b]:
                best = x[a, b]
        y[a] = best


def max_grad_input(dy: Array, x: Array, y: Array, *, dim: Shape, share: bool) -> Array:
    """dx = dy at the first maximum, or dy / (number of maxima) at each"""
    matrix = _matrix(x, dim)
    dx = np.empty_like(matrix)
    _max_grad(np.ascontiguousarray(dy).reshape(-1), matrix, np.ascontiguousarray(y).reshape(-1), dx, share)
    return _from_matrix(dx, x.shape, dim)


@kernel
def _max_grad(dy, x, y, dx, share):
    # dx[a, b] = dy[a] / count where x[a, b] is y[a] (NaN is NaN), else 0, parallel over a; count = 1 if not shared
    A, B = x.shape
    for a in prange(A):
        count = 0
        for b in range(B):
            if x[a, b] == y[a] or (x[a, b] != x[a, b] and y[a] != y[a]):
                count += 1
        gradient = dy[a] / x.dtype.type(count) if share else dy[a]
        found = False
        for b in range(B):
            if (x[a, b] == y[a] or (x[a, b] != x[a, b] and y[a] != y[a])) and (share or not found):
                found = True
                dx[a, b] = gradient
            else:
                dx[a, b] = 0
