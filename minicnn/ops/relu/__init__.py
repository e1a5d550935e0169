r"""ReLU, the rectified linear unit: negative values become zero.

Formula::

    y = max(x, 0)

Shapes: x, y, dy of any one shape.

The passes, from `dy = dL/dy`::

    dx = dy where y > 0, 0 where y = 0

At x = 0 there is a corner; the gradient is taken as 0, as in PyTorch. relu(NaN) is NaN, and there dy passes (NaN is not
<= 0; also as in PyTorch). The gradient needs y alone, which the next layer keeps anyway, so x can go.

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| vector  | images in one line, border and all | all | float32 and float64, preferred; other arrays as in loops |
| loops   | one compiled loop in the order of memory, on all threads | all | float32 and float64 |
| formula | NumPy: the yardstick | all | any float dtype |
| cuda    | one thread a number | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.ops.axes import check_gradient
from minicnn.ops.registry import Operation


def forward(x: Array) -> Array:
    """y = max(x, 0).

    Parameters
    ----------
    x : array of any shape, float

    Returns
    -------
    array of the same shape, in the memory layout of x
    """
    check_arrays("relu", x=x)
    return OPERATION.run("forward", (x,), {}, x.shape)


def grad_input(dy: Array, y: Array) -> Array:
    """dx, the gradient with respect to x, from the result `y` of `forward`."""
    check_arrays("relu.grad_input", dy=dy, y=y)
    check_gradient(dy, y.shape, "relu.grad_input")
    return OPERATION.run("grad_input", (dy, y), {}, y.shape)


def record(needs: tuple[bool, ...], x: Array) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: y is saved for dx."""
    y = forward(x)
    return y, {"y": y if needs[0] else None, "options": {}}


def backward(needs: tuple[bool, ...], saved: dict[str, Any], dy: Array) -> tuple[Array | None, ...]:
    """Gradient of (x,) for the tape."""
    return (grad_input(dy, saved["y"]) if needs[0] else None,)


OPERATION = Operation(
    name="relu",
    formula=r"y = \max(x, 0)",
    inputs=("x",),
    record=record,
    backward=backward,
    passes=("forward", "grad_input"),
    algorithms=("vector", "loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
