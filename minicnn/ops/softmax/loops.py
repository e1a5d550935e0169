"""Softmax and its logarithm as plain loops, compiled.

Shapes: x, y and dy (A, D, B), contiguous: D entries along `dim`, A places before that axis and B after it. Sums over D
are taken in float64.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.registry import Problem


def supports(problem: Problem) -> str:
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    return "" if problem.dtype in (np.float32, np.float64) else "dtype must be float32 or float64"


softmax_supports = log_softmax_supports = supports


def softmax_forward(x: Array, *, dim: int) -> Array:
    """y[i] = exp(x[i] - m) / sum_j exp(x[j] - m), m = max_j x[j]"""
    y = np.empty(x.shape, x.dtype)
    _softmax_forward(around(x, dim), around(y, dim))
    return y


def softmax_grad_input(dy: Array, y: Array, *, dim: int) -> Array:
    """dx[i] = y[i] (dy[i] - sum_j dy[j] y[j])"""
    dx = np.empty(y.shape, y.dtype)
    _softmax_grad_input(around(dy, dim), around(y, dim), around(dx, dim))
    return dx


def log_softmax_forward(x: Array, *, dim: int) -> Array:
    """y[i] = x[i] - m - log sum_j exp(x[j] - m), m = max_j x[j]"""
    y = np.empty(x.shape, x.dtype)
    _log_softmax_forward(around(x, dim), around(y, dim))
    return y


def log_softmax_grad_input(dy: Array, y: Array, *, dim: int) -> Array:
    """dx[i] = dy[i] - exp(y[i]) sum_j dy[j]"""
    dx = np.empty(y.shape, y.dtype)
    _log_softmax_grad_input(around(dy, dim), around(y, dim), around(dx, dim))
    return dx


@kernel(parallel=False)
def largest(x, a, b):
    """max over i of x[a, i, b]; NaN wins"""
    top = x[a, 0, b]
    for i in range(1, x.shape[1]):
        if x[a, i, b] > top or x[a, i, b] != x[a, i, b]:
            top = x[a, i, b]
    return top


@kernel
def _softmax_forward(x, y):
    # parallel over (a, b); inside: the largest entry, the exponentials and their sum, the division
    A, D, B = x.shape
    for ab in prange(A * B):
        a, b = ab // B, ab % B
        top = largest(x, a, b)
        total = 0.0
        for i in range(D):
            y[a, i, b] = math.exp(x[a, i, b] - top)
            total += y[a, i, b]
        for i in range(D):
            y[a, i, b] = y[a, i, b] / total


@kernel
def _softmax_grad_input(dy, y, dx):
    # parallel over (a, b); inside: the sum of dy y, then dx
    A, D, B = y.shape
    for ab in prange(A * B):
        a, b = ab // B, ab % B
        total = 0.0
        for i in range(D):
            total += dy[a, i, b] * y[a, i, b]
        for i in range(D):
            dx[a, i, b] = y[a, i, b] * (dy[a, i, b] - total)


@kernel
def _log_softmax_forward(x, y):
    # parallel over (a, b); inside: the largest entry, the sum of the exponentials, then y
    A, D, B = x.shape
    for ab in prange(A * B):
        a, b = ab // B, ab % B
        top = largest(x, a, b)
        total = 0.0
        for i in range(D):
            total += math.exp(x[a, i, b] - top)
        for i in range(D):
            y[a, i, b] = x[a, i, b] - top - math.log(total)


@kernel
def _log_softmax_grad_input(dy, y, dx):
    # parallel over (a, b); inside: the sum of dy, then dx
    A, D, B = y.shape
    for ab in prange(A * B):
        a, b = ab // B, ab % B
        total = 0.0
        for i in range(D):
            total += dy[a, i, b]
        for i in range(D):
            dx[a, i, b] = dy[a, i, b] - math.exp(y[a, i, b]) * total


def around(x: Array, dim: int) -> Array:
    """(..., D, ...) -> (A, D, B), contiguous"""
    return np.ascontiguousarray(x).reshape(math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :]))
