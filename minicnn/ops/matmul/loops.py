"""Matrix product as plain loops, compiled: what Numba alone gives.

Shapes: a (..., M, K), b (..., K, N), y and dy (..., M, N). The kernels see stacks of matrices, a (A, M, K), b (B, K, N)
and y (G, M, N), and are told which matrix of a and of b belongs to matrix g of y (`pairs`).

A matrix that served several products collects its gradient from all of them, in order (`shared`): a gather, so that no
two threads write to one place.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.registry import Problem

Shape = tuple[int, ...]


def supports(problem: Problem) -> str:
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    return "" if problem.dtype in (np.float32, np.float64) else "dtype must be float32 or float64"


def stack(x: Array) -> Array:
    """(..., M, N) -> (all leading axes in one, M, N), contiguous"""
    return np.ascontiguousarray(x).reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


def pairs(a_shape: Shape, b_shape: Shape) -> tuple[Shape, Array, Array]:
    """Leading axes of y; for each of its matrices g the number of the matrix of a, and of b, that it is made of."""
    batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
    a_at, b_at = (
        np.broadcast_to(np.arange(math.prod(s[:-2])).reshape(s[:-2]), batch).flatten() for s in (a_shape, b_shape)
    )
    return batch, a_at, b_at


def alone(numbers: Array) -> Array:
    """(G,) -> (G, 1): each matrix of y is one product."""
    return numbers[:, None]


def shared(numbers: Array, shape: Shape) -> Array:
    """(matrices of an operand, products that each took part in): the numbers g of these products, in order."""
    matrices = math.prod(shape[:-2])
    return np.argsort(numbers, kind="stable").reshape(matrices, len(numbers) // max(1, matrices))


def forward(a: Array, b: Array) -> Array:
    """y[g,i,j] = sum_k a[i,k] b[k,j] with the matrices a and b that belong to g"""
    batch, a_at, b_at = pairs(a.shape, b.shape)
    y = np.empty((*batch, a.shape[-2], b.shape[-1]), a.dtype)
    _forward(stack(a), stack(b), a_at, b_at, stack(y))
    return y


@kernel
def _forward(a, b, a_at, b_at, y):
    # parallel over (g, i); inside: j, then the sum over k
    G, M, N = y.shape
    for gi in prange(G * M):
        g, i = gi // M, gi % M
        for j in range(N):
            total = y.dtype.type(0)
            for k in range(a.shape[2]):
                total += a[a_at[g], i, k] * b[b_at[g], k, j]
            y[g, i, j] = total


def grad_a(dy: Array, b: Array, *, a_shape: Shape) -> Array:
    """da[i,k] = sum over the products g that used this matrix, and over j, of dy[g,i,j] b[k,j]"""
    _, a_at, b_at = pairs(a_shape, b.shape)
    da = np.empty(a_shape, dy.dtype)
    _grad_a(stack(dy), stack(b), shared(a_at, a_shape), b_at, stack(da))
    return da


@kernel
def _grad_a(dy, b, users, b_at, da):
    # parallel over (m, i), matrix m of a; inside: k, then the sum over the users g of the matrix and over j
    A, M, K = da.shape
    for mi in prange(A * M):
        m, i = mi // M, mi % M
        for k in range(K):
            total = da.dtype.type(0)
            for g in users[m]:
                for j in range(dy.shape[2]):
                    total += dy[g, i, j] * b[b_at[g], k, j]
            da[m, i, k] = total


def grad_b(dy: Array, a: Array, *, b_shape: Shape) -> Array:
    """db[k,j] = sum over the products g that used this matrix, and over i, of a[i,k] dy[g,i,j]"""
    _, a_at, b_at = pairs(a.shape, b_shape)
    db = np.empty(b_shape, dy.dtype)
    _grad_b(stack(dy), stack(a), shared(b_at, b_shape), a_at, stack(db))
    return db


@kernel
def _grad_b(dy, a, users, a_at, db):
    # parallel over (m, k), matrix m of b; inside: j, then the sum over the users g of the matrix and over i
    B, K, N = db.shape
    for mk in prange(B * K):
        m, k = mk // K, mk % K
        for j in range(N):
            total = db.dtype.type(0)
            for g in users[m]:
                for i in range(dy.shape[1]):
                    total += a[a_at[g], i, k] * dy[g, i, j]
            db[m, k, j] = total
