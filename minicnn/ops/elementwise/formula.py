"""Element-wise operations as printed, in NumPy."""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.axes import Shape, unbroadcast


def add_forward(a: Array, b: Array) -> Array:
    """y = a + b"""
    return a + b


def add_grad_a(dy: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy"""
    return unbroadcast(dy, a_shape)


def add_grad_b(dy: Array, *, b_shape: Shape) -> Array:
    """db = sum_rep dy"""
    return unbroadcast(dy, b_shape)


def sub_forward(a: Array, b: Array) -> Array:
    """y = a - b"""
    return a - b


def sub_grad_a(dy: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy"""
    return unbroadcast(dy, a_shape)


def sub_grad_b(dy: Array, *, b_shape: Shape) -> Array:
    """db = -sum_rep dy"""
    return -unbroadcast(dy, b_shape)


def mul_forward(a: Array, b: Array) -> Array:
    """y = a b"""
    return a * b


def mul_grad_a(dy: Array, b: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy b"""
    return unbroadcast(dy * b, a_shape)


def mul_grad_b(dy: Array, a: Array, *, b_shape: Shape) -> Array:
    """db = sum_rep dy a"""
    return unbroadcast(dy * a, b_shape)


def div_forward(a: Array, b: Array) -> Array:
    """y = a / b"""
    return a / b


def div_grad_a(dy: Array, b: Array, *, a_shape: Shape) -> Array:
    """da = sum_rep dy / b"""
    return unbroadcast(dy / b, a_shape)


def div_grad_b(dy: Array, a: Array, b: Array) -> Array:
    """db = -sum_rep dy (a / b) / b; b^2, which could overflow, is not formed"""
    return unbroadcast(-dy * (a / b / b), b.shape)


def pow_forward(x: Array, *, exponent: float) -> Array:
    """y = x^e"""
    return x**exponent


def pow_grad_input(dy: Array, x: Array, *, exponent: float) -> Array:
    """dx = dy e x^(e-1); a constant (e = 0) has the gradient 0, also at x = 0"""
    return np.zeros_like(x) if exponent == 0 else dy * (exponent * x ** (exponent - 1))


def exp_forward(x: Array) -> Array:
    """y = e^x"""
    return np.exp(x)


def exp_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy y"""
    return dy * y


def log_forward(x: Array) -> Array:
    """y = ln x"""
    return np.log(x)


def log_grad_input(dy: Array, x: Array) -> Array:
    """dx = dy / x"""
    return dy / x


def sigmoid_forward(x: Array) -> Array:
    """y = 1 / (1 + e^-x), as 1 / (1 + t) or t / (1 + t) with t = e^-|x|, which cannot overflow"""
    t = np.exp(-np.abs(x))
    return np.where(x < 0, t, 1) / (1 + t)


def sigmoid_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy y (1 - y)"""
    return dy * (y * (1 - y))


def tanh_forward(x: Array) -> Array:
    """y = tanh x"""
    return np.tanh(x)


def tanh_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy (1 - y^2)"""
    return dy * (1 - y * y)
