"""Batch normalisation, a sum and ReLU as printed: the formulas of the three operations, one after the other.

Shapes: x, residual, y and dy (N, C, ...); weight, bias, mean, var and inv_std (C,).
"""

from __future__ import annotations

from minicnn.backends.arrays import Array
from minicnn.ops.batch_norm import formula as batch_norm
from minicnn.ops.elementwise.formula import add_forward
from minicnn.ops.relu import formula as relu


def forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    residual: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float,
    training: bool,
) -> Array:
    """y = relu(batch_norm(x) + residual)"""
    z = batch_norm.forward(x, weight, bias, mean, var, eps=eps, training=training)
    return relu.forward(z if residual is None else add_forward(z, residual))


def grad(
    dy: Array,
    y: Array,
    x: Array | None,
    weight: Array | None,
    mean: Array | None,
    inv_std: Array | None,
    *,
    training: bool,
    needs: tuple[bool, bool, bool, bool],
) -> tuple[Array, ...]:
    """The wanted ones of dx, dweight, dbias and dresidual; dz = dy where y > 0 is what reaches the sum"""
    dz = relu.grad_input(dy, y)
    ways = (
        lambda: batch_norm.grad_input(dz, x, weight, mean, inv_std, training=training),
        lambda: batch_norm.grad_weight(dz, x, mean, inv_std),
        lambda: batch_norm.grad_bias(dz),
        lambda: dz,
    )
    return tuple(way() for way, need in zip(ways, needs, strict=True) if need)
