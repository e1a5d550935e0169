"""Element-wise operations, compiled: one loop over the elements, on all threads.

Shapes: all elements of an array as one line, in the order of memory: a, b, dy, y of the common shape (an operand that
is repeated is written out first), or x, y, dy, dx of one shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.exponential import exp, log, tanh
from minicnn.backends.jit import kernel
from minicnn.ops.axes import Shape, unbroadcast
from minicnn.ops.lines import from_line, line, memory_order, supports

add_supports = sub_supports = mul_supports = div_supports = supports
pow_supports = exp_supports = log_supports = sigmoid_supports = tanh_supports = supports


def _along(loop: Callable[..., None], *arrays: Array, numbers: tuple = (), order: list[int] | None = None) -> Array:
    """Run `loop` over arrays of one shape, all as lines in one order of axes: that of the last one's memory."""
    shape, dtype = arrays[-1].shape, arrays[-1].dtype
    order = memory_order(arrays[-1]) if order is None else order
    result = np.empty(arrays[-1].size, dtype)
    loop(*(line(x, order) for x in arrays), *numbers, result)
    return from_line(result, shape, order)


# ---- two operands ---------------------------------------------------------------------------------------------------


def _together(loop: Callable[..., None], *arrays: Array) -> Array:
    """Run `loop` over arrays that broadcast, in the memory order of the first that has the common shape."""
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    order = next((memory_order(x) for x in arrays if x.shape == shape), list(range(len(shape))))
    return _along(loop, *(x if x.shape == shape else np.broadcast_to(x, shape).copy() for x in arrays), order=order)


def add_forward(a: Array, b: Array) -> Array:
    """y = a + b"""
    return _together(_add, a, b)


@kernel
def _add(a, b, y):
    # y[i] = a[i] + b[i], parallel over i
    for i in prange(y.size):
        y[i] = a[i] + b[i]


def add_grad_a(dy: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy"""
    return unbroadcast(dy, a_shape)


def add_grad_b(dy: Array, *, b_shape: Shape) -> Array:
    """db = sum_rep dy"""
    return unbroadcast(dy, b_shape)


def sub_forward(a: Array, b: Array) -> Array:
    """y = a - b"""
    return _together(_sub, a, b)


@kernel
def _sub(a, b, y):
    # y[i] = a[i] - b[i], parallel over i
    for i in prange(y.size):
        y[i] = a[i] - b[i]


def sub_grad_a(dy: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy"""
    return unbroadcast(dy, a_shape)


def sub_grad_b(dy: Array, *, b_shape: Shape) -> Array:
    """db = -sum_rep dy"""
    return -unbroadcast(dy, b_shape)


def mul_forward(a: Array, b: Array) -> Array:
    """y = a b"""
    return _together(_mul, a, b)


@kernel
def _mul(a, b, y):
    # y[i] = a[i] b[i], parallel over i
    for i in prange(y.size):
        y[i] = a[i] * b[i]


def mul_grad_a(dy: Array, b: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy b"""
    return unbroadcast(_together(_mul, dy, b), a_shape)


def mul_grad_b(dy: Array, a: Array, *, b_shape: Shape) -> Array:
    """db = sum_rep dy a"""
    return unbroadcast(_together(_mul, dy, a), b_shape)


def div_forward(a: Array, b: Array) -> Array:
    """y = a / b"""
    return _together(_div, a, b)


@kernel
def _div(a, b, y):
    # y[i] = a[i] / b[i], parallel over i
    for i in prange(y.size):
        y[i] = a[i] / b[i]


def div_grad_a(dy: Array, b: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy / b"""
    return unbroadcast(_together(_div, dy, b), a_shape)


def div_grad_b(dy: Array, a: Array, b: Array) -> Array:
    """db = -sum_rep dy (a / b) / b"""
    return unbroadcast(_together(_div_grad_b, dy, a, b), b.shape)


@kernel
def _div_grad_b(dy, a, b, db):
    # db[i] = -dy[i] (a[i] / b[i]) / b[i], parallel over i
    for i in prange(db.size):
        db[i] = -dy[i] * (a[i] / b[i] / b[i])


# ---- one variable ---------------------------------------------------------------------------------------------------


def pow_forward(x: Array, *, exponent: float) -> Array:
    """y = x^e"""
    return _along(_pow, x, numbers=(x.dtype.type(exponent),))


@kernel
def _pow(x, exponent, y):
    # y[i] = x[i]^e, parallel over i
    for i in prange(x.size):
        y[i] = x[i] ** exponent


def pow_grad_input(dy: Array, x: Array, *, exponent: float) -> Array:
    """dx = dy e x^(e-1), 0 for e = 0"""
    numbers = x.dtype.type(exponent), x.dtype.type(exponent - 1)
    return np.zeros_like(x) if exponent == 0 else _along(_pow_grad, dy, x, numbers=numbers)


@kernel
def _pow_grad(dy, x, exponent, less, dx):
    # dx[i] = dy[i] e x[i]^(e-1), parallel over i
    for i in prange(x.size):
        dx[i] = dy[i] * (exponent * x[i] ** less)


def exp_forward(x: Array) -> Array:
    """y = e^x"""
    return _along(_exp, x)


@kernel
def _exp(x, y):
    # y[i] = e^x[i], parallel over i
    for i in prange(x.size):
        y[i] = exp(x[i])


def exp_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy y"""
    return _along(_mul, dy, y)


def log_forward(x: Array) -> Array:
    """y = ln x"""
    return _along(_log, x)


@kernel
def _log(x, y):
    # y[i] = ln x[i], parallel over i
    for i in prange(x.size):
        y[i] = log(x[i])


def log_grad_input(dy: Array, x: Array) -> Array:
    """dx = dy / x"""
    return _along(_div, dy, x)


def sigmoid_forward(x: Array) -> Array:
    """y = 1 / (1 + e^-x)"""
    return _along(_sigmoid, x)


@kernel
def _sigmoid(x, y):
    # y[i] = 1 / (1 + t) or t / (1 + t) with t = e^-|x[i]|, parallel over i
    one = x.dtype.type(1)
    for i in prange(x.size):
        t = exp(-abs(x[i]))
        y[i] = (t if x[i] < 0 else one) / (one + t)


def sigmoid_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy y (1 - y)"""
    return _along(_sigmoid_grad, dy, y)


@kernel
def _sigmoid_grad(dy, y, dx):
    # dx[i] = dy[i] y[i] (1 - y[i]), parallel over i
    one = y.dtype.type(1)
    for i in prange(y.size):
        dx[i] = dy[i] * (y[i] * (one - y[i]))


def tanh_forward(x: Array) -> Array:
    """y = tanh x"""
    return _along(_tanh, x)


@kernel
def _tanh(x, y):
    # y[i] = tanh x[i], parallel over i
    for i in prange(x.size):
        y[i] = tanh(x[i])


def tanh_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy (1 - y^2)"""
    return _along(_tanh_grad, dy, y)


@kernel
def _tanh_grad(dy, y, dx):
    # dx[i] = dy[i] (1 - y[i]^2), parallel over i
    one = y.dtype.type(1)
    for i in prange(y.size):
        dx[i] = dy[i] * (one - y[i] * y[i])
