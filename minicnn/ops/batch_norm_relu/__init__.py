r"""Batch normalisation, a sum and ReLU in one: what follows a convolution in a residual network.

Formula::

    y = relu(batch_norm(x) + residual)

with `batch_norm` as in `minicnn.ops.batch_norm`; the residual may be absent. Each of the three steps does a handful of
additions on every number that it fetches from memory, so it is memory that takes the time, and one pass over it serves
all three.

Shapes: `x, residual, y: (N, C, ...)`, `weight, bias, mean, var, inv_std: (C,)`.

The passes, from `dy = dL/dy`: `grad` gives all gradients that are wanted, since they share their sums::

    dz        = dy where y > 0, else 0
    dresidual = dz
    dx, dweight, dbias = those of batch_norm, from dz

What is saved is x, y, mean and inv_std, of which x and y are there already.

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| vector  | one pass forward; backward one for the sums, one for dx | all | images, float32 and float64, preferred |
| formula | batch_norm, add and relu, one after the other: the yardstick | all | any float dtype |
| cuda    | one pass forward; backward one for the sums, one for dx | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

import math
from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.batch_norm import (
    check_channels,
    check_given,
    check_same,
    check_training,
    check_vectors,
    inverse_std,
)
from minicnn.ops.registry import Operation

Needs = tuple[bool, bool, bool, bool]


def forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    residual: Array | None,
    mean: Array,
    var: Array,
    *,
    eps: float = 1e-5,
    training: bool,
) -> Array:
    """y = relu(weight * (x - mean) / sqrt(var + eps) + bias + residual).

    Parameters
    ----------
    x : array (N, C, ...), float
    weight, bias : array (C,), same dtype, or None
    residual : array of the shape of x, same dtype, or None
    mean, var : array (C,), same dtype
        `batch_norm.statistics(x)` in training, the running ones in evaluation.
    eps : float
        Keeps channels of variance 0 finite; above 0.
    training : bool
        Whether mean and var are functions of x; then a channel needs more than one value.

    Returns
    -------
    array (N, C, ...)

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Before any compiled code runs.
    """
    called = "batch_norm_relu"
    check_arrays(called, x=x, weight=weight, bias=bias, residual=residual, mean=mean, var=var)
    check_given(called, x=x, mean=mean, var=var)
    check_channels(x, called)
    check_vectors(x, called, weight=weight, bias=bias, mean=mean, var=var)
    if residual is not None and residual.shape != x.shape:
        raise ShapeError(
            "residual does not have the shape of x", called=called, seen=f"residual {residual.shape}, x {x.shape}"
        )
    check_training(training, x, called)
    if not isinstance(eps, (int, float)) or not 0 < eps < math.inf:
        raise ArgumentError("eps is not valid", called=called, seen=f"eps={eps!r}", rule="a number > 0")
    options = {"eps": float(eps), "training": training}
    return OPERATION.run("forward", (x, weight, bias, residual, mean, var), options, x.shape)


def grad(
    dy: Array,
    y: Array,
    x: Array | None,
    weight: Array | None,
    mean: Array | None,
    inv_std: Array | None,
    *,
    training: bool,
    needs: Needs = (True, True, True, True),
) -> tuple[Array | None, ...]:
    """Gradients with respect to x, weight, bias and residual; None where `needs` is False.

    x and mean may be None where nobody needs them: without dweight, and without dx or in evaluation. inv_std is needed
    for dx and dweight.
    """
    called = "batch_norm_relu.grad"
    check_arrays(called, dy=dy, y=y, x=x, weight=weight, mean=mean, inv_std=inv_std)
    check_channels(dy, called, "dy")
    check_same(dy, y, called)
    check_vectors(dy, called, weight=weight, mean=mean, inv_std=inv_std)
    check_training(training, dy, called)
    if needs[1] or (needs[0] and training):
        check_given(called, x=x, mean=mean)
    if needs[0] or needs[1]:
        check_given(called, inv_std=inv_std)
    if x is not None:
        check_same(dy, x, called)
    if not any(needs):
        return None, None, None, None
    c = dy.shape[1:2]
    shapes = [shape for shape, need in zip((dy.shape, c, c, dy.shape), needs, strict=True) if need]
    options = {"training": training, "needs": needs}
    wanted = iter(OPERATION.run("grad", (dy, y, x, weight, mean, inv_std), options, *shapes))
    return tuple(next(wanted) if need else None for need in needs)


def record(
    needs: Needs,
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    residual: Array | None = None,
    *,
    mean: Array,
    var: Array,
    eps: float = 1e-5,
    training: bool,
) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: y is saved for dz, the rest as by batch_norm."""
    y = forward(x, weight, bias, residual, mean, var, eps=eps, training=training)
    with_x = needs[1] or (needs[0] and training)
    saved = {
        "y": y if any(needs) else None,
        "x": x if with_x else None,
        "mean": mean if with_x else None,
        "inv_std": inverse_std(var, eps) if needs[0] or needs[1] else None,
        "weight": weight if needs[0] else None,
        "options": {"eps": eps, "training": training},
    }
    return y, saved


def backward(needs: Needs, saved: dict[str, Any], dy: Array) -> tuple[Array | None, ...]:
    """Gradients of (x, weight, bias, residual) for the tape."""
    kept = [saved[name] for name in ("y", "x", "weight", "mean", "inv_std")]
    return grad(dy, *kept, training=saved["options"]["training"], needs=needs) if any(needs) else (None,) * 4


OPERATION = Operation(
    name="batch_norm_relu",
    formula=r"y = \max\left(\gamma\, \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta + r,\, 0\right)",
    inputs=("x", "weight", "bias", "residual"),
    record=record,
    backward=backward,
    passes=("forward", "grad"),
    algorithms=("vector", "formula"),
    cuda=("cuda",),
    package=__name__,
)
