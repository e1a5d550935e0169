"""The forward pass of `tiled` for one image or a few: every weight is read once, at the speed of memory.

Shapes: x (N, I), w (J, I), b (J,), y (N, J), all contiguous; N counts all leading axes, at most `FEW`::

    y[n,j] = b[j] + sum_i x[n,i] w[j,i]

A matrix product in tiles would first copy the weights into panels. For a few rows that is most of the work: here each
output is a scalar product of two rows as they lie, in four vectors of partial sums.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.backends.simd import lanes, vload, vstore, vzero
from minicnn.ops.linear.loops import rows

FEW = 4
GROUP = 16  # outputs of one unit of work


def forward(x: Array, w: Array, b: Array | None) -> Array:
    """y[n,j] = b[j] + sum_i x[n,i] w[j,i]"""
    y = np.empty((*x.shape[:-1], w.shape[0]), x.dtype)
    b = np.zeros(w.shape[0], x.dtype) if b is None else np.ascontiguousarray(b)
    _forward(rows(x).reshape(-1), np.ascontiguousarray(w).reshape(-1), b, rows(y), x.shape[-1])
    return y


@kernel
def _forward(x, w, b, y, I):  # noqa: E741 (the number of inputs)
    # parallel over groups of outputs j; inside: j, n, then the sum over i
    N, J = y.shape
    for group in prange((J + GROUP - 1) // GROUP):
        parts = np.empty(lanes(x), x.dtype)
        for j in range(group * GROUP, min(J, group * GROUP + GROUP)):
            for n in range(N):
                y[n, j] = b[j] + _scalar_product(x, n * I, w, j * I, I, parts)


@kernel(parallel=False)
def _scalar_product(a, ia, b, ib, many, parts):
    # sum_i a[ia + i] b[ib + i]: four vectors of sums side by side, so that none waits for the one before
    wide = lanes(a)
    p, q, r, s = vzero(a), vzero(a), vzero(a), vzero(a)
    i = 0
    while i + 4 * wide <= many:
        p = p + vload(a, ia + i) * vload(b, ib + i)
        q = q + vload(a, ia + i + wide) * vload(b, ib + i + wide)
        r = r + vload(a, ia + i + 2 * wide) * vload(b, ib + i + 2 * wide)
        s = s + vload(a, ia + i + 3 * wide) * vload(b, ib + i + 3 * wide)
        i += 4 * wide
    while i + wide <= many:
        p = p + vload(a, ia + i) * vload(b, ib + i)
        i += wide
    vstore(parts, 0, (p + q) + (r + s))
    total = a.dtype.type(0)
    for part in range(wide):
        total += parts[part]
    while i < many:
        total += a[ia + i] * b[ib + i]
        i += 1
    return total
