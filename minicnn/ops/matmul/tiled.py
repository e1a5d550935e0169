"""Matrix product in register tiles; `tiled_kernels` says how a tile is computed, this file where operands lie.

Shapes: a (..., M, K), b (..., K, N), y and dy (..., M, N). Matrices, and transposed ones, are read where they lie if
the kernel can do so at full speed; else they are copied into panels:

- a: where its rows are contiguous. A transposed a goes into panels as high as a tile.
- b: where its rows are contiguous and a has few rows, so that a copy would not pay. Else into panels of NR columns.
- If both operands would be turned (y = a @ b^T with b's rows contiguous), the one with fewer rows is put into panels:
  y^T = b @ a^T takes the place of y = a @ b^T for a small batch a and large weights b.

The gradients are the same product of other matrices: da = dy @ b^T and db = a^T @ dy. No BLAS: its threads beside
Numba's cost milliseconds at each change between them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.backends.cpu import lanes_of
from minicnn.backends.scratch import Scratch
from minicnn.ops.matmul.loops import Shape, alone, pairs, shared, supports
from minicnn.ops.matmul.tiled_kernels import NV, pack, products_of, tile_height

__all__ = ["forward", "grad_a", "grad_b", "multiply", "product", "supports"]

# Sums over k are done in parts: of a panel of b so much stays in the second cache; where it was not copied, its rows
# lie far apart, and the first cache must do
PANEL_BYTES = 2**19
PLACE_BYTES = 2**15
BLOCK_BYTES = 2**19  # of the rows of a that one unit of work reads again for each panel, in that cache too
BLOCK_ROWS = 128
FEW_TILES = 2  # so few tiles of rows do not read b often enough for a copy to pay
PACK_STEPS = 64, 16  # of k, for one unit of packing that turns, or does not turn, its operand


def forward(a: Array, b: Array) -> Array:
    """y = a @ b"""
    batch, a_at, b_at = pairs(a.shape, b.shape)
    y = np.empty((*batch, a.shape[-2], b.shape[-1]), a.dtype)
    multiply(a, b, alone(a_at), alone(b_at), y)
    return y


def grad_a(dy: Array, b: Array, *, a_shape: Shape) -> Array:
    """da = dy @ b^T, summed over the leading axes along which a was repeated"""
    _, a_at, b_at = pairs(a_shape, b.shape)
    da = np.empty(a_shape, dy.dtype)
    users = shared(a_at, a_shape)
    multiply(dy, np.swapaxes(b, -1, -2), users, b_at[users], da)
    return da


def grad_b(dy: Array, a: Array, *, b_shape: Shape) -> Array:
    """db = a^T @ dy, summed over the leading axes along which b was repeated"""
    _, a_at, b_at = pairs(a.shape, b_shape)
    db = np.empty(b_shape, dy.dtype)
    users = shared(b_at, b_shape)
    multiply(np.swapaxes(a, -1, -2), dy, a_at[users], users, db)
    return db


class Stack(NamedTuple):
    """Matrices as numbers in a row: `flat[matrix * size + row * row_step + column * column_step]`."""

    flat: np.ndarray
    row_step: int
    column_step: int

    @property
    def turned(self) -> Stack:
        """The transposed matrices."""
        return Stack(self.flat, self.column_step, self.row_step)


def lie(x: Array) -> Stack:
    """The matrices of x, with contiguous rows or contiguous columns: in place, or copied."""
    m, n = x.shape[-2:]
    if not x.flags.c_contiguous and np.swapaxes(x, -1, -2).flags.c_contiguous:
        return Stack(np.swapaxes(x, -1, -2).reshape(-1), 1, m)
    return Stack(np.ascontiguousarray(x).reshape(-1), n, 1)


def multiply(a: Array, b: Array, a_at: np.ndarray, b_at: np.ndarray, c: Array, bias: Array | None = None) -> None:
    """Matrix g of c = bias + sum over t of matrix a_at[g, t] of a @ matrix b_at[g, t] of b.

    Parameters
    ----------
    a, b : array (..., M, K) and (..., K, N), any strides
    a_at, b_at : array (matrices of c, T) of int
    c : array (..., M, N), contiguous
    bias : array (N,), optional
    """
    (m, k), n = a.shape[-2:], b.shape[-1]
    if 0 in (c.size, k, a_at.shape[1]):
        c[...] = 0 if bias is None else bias
        return
    left, right, c_row, c_column = lie(a), lie(b), n, 1
    if left.column_step == 1 and right.row_step == 1 < right.column_step and m < n:
        left, right, a_at, b_at = right.turned, left.turned, b_at, a_at
        m, n, c_row, c_column = n, m, 1, n
    high, wide = tile_height(m), NV * lanes_of(c.dtype)
    whole_rows = m // high if left.column_step == 1 else 0  # tiles of a that are read where they lie
    whole_panels = n // wide if right.column_step == 1 and m <= FEW_TILES * high else 0
    many = -(-k * wide * c.itemsize // (PLACE_BYTES if whole_panels else PANEL_BYTES))
    part = -(-k // many)
    block = max(1, min(BLOCK_ROWS, BLOCK_BYTES // (part * c.itemsize)) // high)
    added = np.zeros(0 if bias is None else max(m, n) + wide, c.dtype)
    if bias is not None:
        added[: len(bias)] = bias
    with ExitStack() as stack:
        rows = panels(left, m, k, high, whole_rows, stack)
        columns = panels(right.turned, n, k, wide, whole_panels, stack)
        products_of(high)(
            left.flat, left.row_step, rows, whole_rows, right.flat, right.row_step, columns, whole_panels,
            a_at, b_at, c.reshape(-1), c_row, c_column, added, m, n, k, part, block,
        )  # fmt: skip


def panels(x: Stack, rows: int, k: int, wide: int, whole: int, stack: ExitStack) -> np.ndarray:
    """[matrix][panel][k][row in panel] of all panels but the first `whole`; rows beyond the last are zeros."""
    matrices = x.flat.size // (rows * k)
    many = -(-rows // wide) - whole
    out = stack.enter_context(Scratch(matrices * many * k * wide, x.flat.dtype))
    steps = PACK_STEPS[x.row_step == 1]
    if many:
        pack(x.flat, x.row_step, x.column_step, rows, k, wide, whole, many, matrices, steps, out)
    return out


def product(a: Array, b: Array, bias: Array | None = None, shape: Shape | None = None) -> Array:
    """a @ b + bias of two matrices, in the given shape."""
    c = np.empty((a.shape[0], b.shape[1]) if shape is None else shape, a.dtype)
    only: Any = np.zeros((1, 1), np.int64)
    multiply(a, b, only, only, c.reshape(a.shape[0], b.shape[1]), bias)
    return c
