"""The fully connected layer as one matrix product in register tiles, by the kernels of `ops/matmul`.

Shapes: x (N, I), w (J, I), b (J,), y and dy (N, J); N counts all leading axes::

    y = x @ w^T + b        dx = dy @ w        dw = dy^T @ x

Nothing is turned here: `multiply` finds out how its operands lie. The bias is added while y is still in registers.
For a few rows the forward pass is another (`few_rows`).
"""

from __future__ import annotations

from minicnn.backends.arrays import Array
from minicnn.ops.linear import few_rows
from minicnn.ops.linear.loops import grad_bias, supports
from minicnn.ops.matmul.tiled import product

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "supports"]


def rows(x: Array) -> Array:
    """(..., I) -> (N, I)"""
    return x.reshape(x.size // x.shape[-1], x.shape[-1])


def forward(x: Array, w: Array, b: Array | None) -> Array:
    """y = x @ w^T + b"""
    if x.size <= few_rows.FEW * x.shape[-1]:
        return few_rows.forward(x, w, b)
    return product(rows(x), w.T, b, (*x.shape[:-1], w.shape[0]))


def grad_input(dy: Array, w: Array) -> Array:
    """dx = dy @ w"""
    return product(rows(dy), w, None, (*dy.shape[:-1], w.shape[1]))


def grad_weight(dy: Array, x: Array) -> Array:
    """dw = dy^T @ x"""
    return product(rows(dy).T, rows(x))
