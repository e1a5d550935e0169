"""The reductions on the GPU: sums, maxima and places of maxima by `folds.py`, gradients by repeating dy."""

from __future__ import annotations

import math

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.axes import Shape
from minicnn.ops.reduce import folds


def sum_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = sum x"""
    return folds.sum_over(x, dim, keepdim=keepdim)


def sum_grad_input(dy: Array, *, x_shape: Shape) -> Array:
    """dx = dy"""
    dx = cuda.empty_images(x_shape, dy.dtype) if len(x_shape) == 4 else cuda.empty(x_shape, dy.dtype)
    cuda_kernels.copy_into(dx, dy)
    return dx


def mean_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = 1/B sum x"""
    return folds.sum_over(x, dim, keepdim=keepdim, mean=True)


def mean_grad_input(dy: Array, *, x_shape: Shape) -> Array:
    """dx = dy / B; B = elements of x for each element of y"""
    from minicnn.ops.elementwise.cuda import unary

    count = math.prod(x_shape) // max(1, dy.size)
    return sum_grad_input(unary("quotient", dy, count or 1), x_shape=x_shape)


def max_forward(x: Array, *, dim: Shape, keepdim: bool) -> Array:
    """y = max x; NaN wins"""
    return folds.max_over(x, dim, keepdim=keepdim)


def max_grad_input(dy: Array, x: Array, y: Array, *, dim: Shape, share: bool) -> Array:
    """dx = dy at the first maximum (along one axis), or dy / (number of maxima) at each"""
    from minicnn.ops.elementwise.cuda import binary

    if not share and dim:
        return folds.to_first(dy, x, dim[0])
    largest = binary("same_or_nan", x, y)
    count = folds.sum_over(largest, dim, keepdim=True)
    return binary("where_not_zero", largest, binary("divide", dy, count))
