r"""Mean squared error, the loss of regression.

Formula, over all n entries::

    y = 1/n sum_i (x[i] - target[i])^2

Shapes: `x, target` alike, any shape; y a single number. `reduction="sum"` leaves out 1/n, `"none"` the sum too.

The passes, from `dy = dL/dy`::

    dx[i]      =   dy 2 (x[i] - target[i]) / n
    dtarget[i] = - dx[i]

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| loops   | compiled; the sum in float64, in blocks | all | float32 and float64, preferred |
| formula | NumPy: the yardstick | all | any float dtype |
| cuda    | element by element; the sum in float64, in blocks | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.registry import Operation

REDUCTIONS = ("mean", "sum", "none")


def forward(x: Array, target: Array, *, reduction: str = "mean") -> Array:
    """y = mean of (x - target)^2.

    Parameters
    ----------
    x, target : arrays of one shape and dtype, float
        Nothing is repeated to fit: (N,) against (N, 1) would silently give N * N differences.
    reduction : "mean", "sum" or "none"
        The mean of no entries is NaN, as in PyTorch.

    Returns
    -------
    array (), or of x's shape with reduction "none"

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Before any compiled code runs.
    """
    check(x, target, reduction, "mse")
    return OPERATION.run("forward", (x, target), {"reduction": reduction}, x.shape if reduction == "none" else ())


def grad_input(dy: Array, x: Array, target: Array, *, reduction: str = "mean") -> Array:
    """dx, the gradient with respect to x."""
    check_backward(dy, x, target, reduction, "mse.grad_input")
    return OPERATION.run("grad_input", (dy, x, target), {"reduction": reduction}, x.shape)


def grad_target(dy: Array, x: Array, target: Array, *, reduction: str = "mean") -> Array:
    """dtarget, the gradient with respect to target."""
    check_backward(dy, x, target, reduction, "mse.grad_target")
    return OPERATION.run("grad_target", (dy, x, target), {"reduction": reduction}, x.shape)


def check(x: Array, target: Array, reduction: str, called: str) -> None:
    """Raise unless x and target have one shape and the reduction is known."""
    check_arrays(called, x=x, target=target)
    if x.shape != target.shape:
        raise ShapeError(
            "x and target have different shapes",
            called=called,
            seen=f"x {x.shape}, target {target.shape}",
            rule="one shape, nothing is broadcast",
            hint="reshape target to the shape of x" if x.size == target.size else "",
        )
    if reduction not in REDUCTIONS:
        raise ArgumentError(
            "reduction is not valid", called=called, seen=f"reduction={reduction!r}", rule="'mean', 'sum' or 'none'"
        )


def check_backward(dy: Array, x: Array, target: Array, reduction: str, called: str) -> None:
    """Raise unless dy has the shape of y."""
    check_arrays(called, dy=dy, x=x)
    check(x, target, reduction, called)
    shape = x.shape if reduction == "none" else ()
    if dy.shape != shape:
        raise ShapeError("dy does not have the shape of y", called=called, seen=f"dy {dy.shape}, y {shape}")


def record(
    needs: tuple[bool, ...], x: Array, target: Array, *, reduction: str = "mean"
) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: x and target are saved for either gradient."""
    saved = {"x": x, "target": target} if any(needs) else {"x": None, "target": None}
    return forward(x, target, reduction=reduction), {**saved, "options": {"reduction": reduction}}


def backward(needs: tuple[bool, ...], saved: dict[str, Any], dy: Array) -> tuple[Array | None, ...]:
    """Gradients of (x, target) for the tape."""
    arrays, options = (dy, saved["x"], saved["target"]), saved["options"]
    dx = grad_input(*arrays, **options) if needs[0] else None
    dtarget = grad_target(*arrays, **options) if needs[1] else None
    return dx, dtarget


OPERATION = Operation(
    name="mse",
    formula=r"y = \frac{1}{n} \sum_i (x_i - t_i)^2",
    inputs=("x", "target"),
    record=record,
    backward=backward,
    passes=("forward", "grad_input", "grad_target"),
    algorithms=("loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
