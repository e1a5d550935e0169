"""Batch normalisation, a sum and ReLU on the GPU: the kernels of `batch_norm`, which do ReLU along the way.

Forward is one pass. Backward, one pass sums what dx, dweight and dbias need, and one makes dx. Where the residual's
gradient dz is wanted, the first pass writes it and the second reads it; otherwise dz is made from dy and y in both.
"""

from __future__ import annotations

from minicnn.backends import cuda_channels
from minicnn.backends.arrays import Array
from minicnn.ops.batch_norm import cuda as batch_norm
from minicnn.ops.relu import cuda as relu


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
    del training  # says where mean and var come from, which only the gradient has to know
    return batch_norm.normalise(x, weight, bias, residual, mean, var, eps, relu=True)


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
    """The wanted ones of dx, dweight, dbias and dresidual"""
    needs_x, needs_weight, needs_bias, needs_residual = needs
    with_products = needs_weight or (needs_x and training)
    x = x if with_products else None  # otherwise it may be missing
    dz = dbias = dweight = None
    if with_products or needs_bias:
        dz = cuda_channels.empty(y.shape, y.dtype) if needs_residual else None
        dbias, dweight = batch_norm.gradient_sums(dy, x, mean, inv_std, y, dz)
    elif needs_residual:
        dz = relu.grad_input(dy, y)
    result: list[Array | None] = []
    if needs_x:
        sums = (x, weight, mean, inv_std, dbias, dweight) if training else (None, weight, None, inv_std, None, None)
        one = (dy, y) if dz is None else (dz, None)
        result.append(batch_norm.input_gradient(one[0], *sums, one[1]))
    result += [v for v, need in ((dweight, needs_weight), (dbias, needs_bias), (dz, needs_residual)) if need]
    return tuple(result)
