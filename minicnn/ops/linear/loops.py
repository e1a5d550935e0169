"""The fully connected layer as plain loops, compiled: what Numba alone gives.

Shapes: x (N, I), w (J, I), b (J,), y and dy (N, J), all contiguous; N counts all leading axes.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.registry import Problem


def supports(problem: Problem) -> str:
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    return "" if problem.dtype in (np.float32, np.float64) else "dtype must be float32 or float64"


def rows(x: Array) -> Array:
    """(..., I) -> (N, I), contiguous"""
    return np.ascontiguousarray(x).reshape(x.size // x.shape[-1], x.shape[-1])


def forward(x: Array, w: Array, b: Array | None) -> Array:
    """y[n,j] = b[j] + sum_i x[n,i] w[j,i]"""
    y = np.empty((*x.shape[:-1], w.shape[0]), x.dtype)
    b = np.zeros(w.shape[0], x.dtype) if b is None else np.ascontiguousarray(b)
    _forward(rows(x), np.ascontiguousarray(w), b, rows(y))
    return y


@kernel
def _forward(x, w, b, y):
    # parallel over (n, j); inside: the sum over i
    N, J = y.shape
    for nj in prange(N * J):
        n, j = nj // J, nj % J
        total = b[j]
        for i in range(x.shape[1]):
            total += x[n, i] * w[j, i]
        y[n, j] = total


def grad_input(dy: Array, w: Array) -> Array:
    """dx[n,i] = sum_j dy[n,j] w[j,i]"""
    dx = np.empty((*dy.shape[:-1], w.shape[1]), dy.dtype)
    _grad_input(rows(dy), np.ascontiguousarray(w), rows(dx))
    return dx


@kernel
def _grad_input(dy, w, dx):
    # parallel over (n, i); inside: the sum over j
    N, I = dx.shape  # noqa: E741 (the number of inputs)
    for ni in prange(N * I):
        n, i = ni // I, ni % I
        total = dx.dtype.type(0)
        for j in range(dy.shape[1]):
            total += dy[n, j] * w[j, i]
        dx[n, i] = total


def grad_weight(dy: Array, x: Array) -> Array:
    """dw[j,i] = sum_n dy[n,j] x[n,i]"""
    dw = np.empty((dy.shape[-1], x.shape[-1]), dy.dtype)
    _grad_weight(rows(dy), rows(x), dw)
    return dw


@kernel
def _grad_weight(dy, x, dw):
    # parallel over (j, i); inside: the sum over n
    J, I = dw.shape  # noqa: E741 (the number of inputs)
    for ji in prange(J * I):
        j, i = ji // I, ji % I
        total = dw.dtype.type(0)
        for n in range(dy.shape[0]):
            total += dy[n, j] * x[n, i]
        dw[j, i] = total


def grad_bias(dy: Array) -> Array:
    """db[j] = sum_n dy[n,j]"""
    db = np.empty(dy.shape[-1], dy.dtype)
    _grad_bias(rows(dy), db)
    return db


@kernel
def _grad_bias(dy, db):
    # parallel over j; inside: the sum over n
    N, J = dy.shape
    for j in prange(J):
        total = db.dtype.type(0)
        for n in range(N):
            total += dy[n, j]
        db[j] = total
