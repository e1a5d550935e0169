"""Matrix product in blocks of 4 x 4: each row of b that is loaded serves four rows of a, each row of c four of b.

Shapes: a (M, K), b (K, N), c (M, N): c += a @ b.

Loop order: columns in strips that stay in the cache, then 4 rows of c, then 4 rows of b, then along the row, where the
compiler uses the widest vectors there are. The sum over k has one fixed order, so results do not depend on threads: c
is cut into pieces of ROWS x COLUMNS by its size alone, and each piece has one thread.

The gradients are the same product of other matrices: da = dy @ b^T and db = a^T @ dy, with the transposed matrix copied
once so that rows are contiguous. No BLAS: its threads beside Numba's cost milliseconds at each change between them.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.matmul.loops import alone, pairs, shared, stack, supports

__all__ = ["add_product", "add_to", "forward", "grad_a", "grad_b", "supports"]

STRIP = 1024  # columns a strip: 4 rows of c and 4 of b in float32 are 32 kB
ROWS, COLUMNS = 8, 256  # the piece of c that one thread takes


def forward(a: Array, b: Array) -> Array:
    """y = a @ b"""
    batch, a_at, b_at = pairs(a.shape, b.shape)
    y = np.zeros((*batch, a.shape[-2], b.shape[-1]), a.dtype)
    _add_products(stack(a), stack(b), alone(a_at), alone(b_at), stack(y))
    return y


def grad_a(dy: Array, b: Array, *, a_shape: tuple[int, ...]) -> Array:
    """da = dy @ b^T, summed over the leading axes along which a was repeated"""
    _, a_at, b_at = pairs(a_shape, b.shape)
    da = np.zeros(a_shape, dy.dtype)
    users = shared(a_at, a_shape)
    _add_products(stack(dy), stack(np.swapaxes(b, -1, -2)), users, b_at[users], stack(da))
    return da


def grad_b(dy: Array, a: Array, *, b_shape: tuple[int, ...]) -> Array:
    """db = a^T @ dy, summed over the leading axes along which b was repeated"""
    _, a_at, b_at = pairs(a.shape, b_shape)
    db = np.zeros(b_shape, dy.dtype)
    users = shared(b_at, b_shape)
    _add_products(stack(np.swapaxes(a, -1, -2)), stack(dy), a_at[users], users, stack(db))
    return db


def add_to(c: Array, a: Array, b: Array) -> None:
    """c += a @ b for contiguous a (M, K), b (K, N), c (M, N), on all threads."""
    only = np.zeros((1, 1), np.int64)
    _add_products(a[None], b[None], only, only, c[None])


@kernel
def _add_products(a, b, a_at, b_at, c):
    # a (A, M, K), b (B, K, N), c (G, M, N); a_at, b_at (G, T): c[g] += sum_t a[a_at[g,t]] @ b[b_at[g,t]]
    # parallel over g, blocks of rows, strips of columns; inside: t in order
    G, M, N = c.shape
    tall = (M + ROWS - 1) // ROWS
    wide = (N + COLUMNS - 1) // COLUMNS
    for piece in prange(G * tall * wide):
        g, place = piece // (tall * wide), piece % (tall * wide)
        top, left = place // wide * ROWS, place % wide * COLUMNS
        bottom, right = min(M, top + ROWS), min(N, left + COLUMNS)
        for t in range(a_at.shape[1]):
            _add_strip(a[a_at[g, t]][top:bottom], b[b_at[g, t]], c[g][top:bottom], left, right)


@kernel(parallel=False)
def add_product(a, b, c):
    """c += a @ b for one thread; called inside parallel kernels."""
    N = c.shape[1]
    for left in range(0, N, STRIP):
        _add_strip(a, b, c, left, min(N, left + STRIP))


@kernel(parallel=False)
def _add_strip(a, b, c, left, right):
    # a (M, K), b (K, N), c (M, N): c[:, left:right] += a @ b[:, left:right]
    # i in fours, k in fours, then j along the strip; what is left of k, then of i, one at a time
    M, K = a.shape
    for i in range(0, M - 3, 4):
        c0, c1, c2, c3 = c[i, left:right], c[i + 1, left:right], c[i + 2, left:right], c[i + 3, left:right]
        for k in range(0, K - 3, 4):
            a00, a01, a02, a03 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
            a10, a11, a12, a13 = a[i + 1, k], a[i + 1, k + 1], a[i + 1, k + 2], a[i + 1, k + 3]
            a20, a21, a22, a23 = a[i + 2, k], a[i + 2, k + 1], a[i + 2, k + 2], a[i + 2, k + 3]
            a30, a31, a32, a33 = a[i + 3, k], a[i + 3, k + 1], a[i + 3, k + 2], a[i + 3, k + 3]
            b0, b1, b2, b3 = b[k, left:right], b[k + 1, left:right], b[k + 2, left:right], b[k + 3, left:right]
            for j in range(right - left):
                c0[j] += a00 * b0[j] + a01 * b1[j] + a02 * b2[j] + a03 * b3[j]
                c1[j] += a10 * b0[j] + a11 * b1[j] + a12 * b2[j] + a13 * b3[j]
                c2[j] += a20 * b0[j] + a21 * b1[j] + a22 * b2[j] + a23 * b3[j]
                c3[j] += a30 * b0[j] + a31 * b1[j] + a32 * b2[j] + a33 * b3[j]
        for k in range(K - K % 4, K):
            b0 = b[k, left:right]
            for j in range(right - left):
                c0[j] += a[i, k] * b0[j]
                c1[j] += a[i + 1, k] * b0[j]
                c2[j] += a[i + 2, k] * b0[j]
                c3[j] += a[i + 3, k] * b0[j]
    for i in range(M - M % 4, M):
        c0 = c[i, left:right]
        for k in range(K):
            b0 = b[k, left:right]
            for j in range(right - left):
                c0[j] += a[i, k] * b0[j]
