r"""Softmax: numbers of any size become probabilities; and its logarithm.

Formula, along the axis `dim`, with m = max_j x[j] subtracted so that no exponential overflows::

    softmax       y[i] = exp(x[i] - m) / sum_j exp(x[j] - m)
    log_softmax   y[i] = x[i] - m - log sum_j exp(x[j] - m)

Shapes: x and y alike, of any shape with at least one axis.

The passes, from `dy = dL/dy` and y (which is all that is saved)::

    softmax       dx[i] = y[i] (dy[i] - sum_j dy[j] y[j])
    log_softmax   dx[i] = dy[i] - exp(y[i]) sum_j dy[j]

An entry -inf has probability 0. A row that holds NaN or +inf, or nothing but -inf, is NaN, as in PyTorch.

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| loops   | compiled; each line is one of vectors; sums in float64 | all | float32 and float64, preferred |
| formula | NumPy: the yardstick | all | any float dtype |
| cuda    | a few threads a row; sums in float64 | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.registry import Operation
from minicnn.ops.windows import is_whole


def softmax_forward(x: Array, *, dim: int = -1) -> Array:
    """y = softmax(x) along the axis `dim`.

    Parameters
    ----------
    x : array, float
        Any shape with at least one axis.
    dim : int
        The axis along which y sums to 1; negative counts from the last.

    Returns
    -------
    array of x's shape

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Before any compiled code runs.
    """
    return SOFTMAX.run("forward", (x,), check(x, dim, "softmax"), x.shape)


def softmax_grad_input(dy: Array, y: Array, *, dim: int = -1) -> Array:
    """dx, the gradient with respect to x, from y = softmax(x)."""
    return SOFTMAX.run("grad_input", (dy, y), check_backward(dy, y, dim, "softmax.grad_input"), y.shape)


def log_softmax_forward(x: Array, *, dim: int = -1) -> Array:
    """y = log(softmax(x)) along the axis `dim`, exact for small probabilities; arguments as of `softmax_forward`."""
    return LOG_SOFTMAX.run("forward", (x,), check(x, dim, "log_softmax"), x.shape)


def log_softmax_grad_input(dy: Array, y: Array, *, dim: int = -1) -> Array:
    """dx, the gradient with respect to x, from y = log_softmax(x)."""
    return LOG_SOFTMAX.run("grad_input", (dy, y), check_backward(dy, y, dim, "log_softmax.grad_input"), y.shape)


def check(x: Array, dim: int, called: str, name: str = "x") -> dict[str, int]:
    """Raise unless `dim` is an axis of x that has entries; return it counted from the first."""
    check_arrays(called, **{name: x})
    if x.ndim == 0:
        raise ShapeError(f"{name} must have at least 1 axis", called=called, seen=f"{name} {x.shape}")
    if not is_whole(dim) or not -x.ndim <= dim < x.ndim:
        raise ArgumentError(
            "dim is not an axis",
            called=called,
            seen=f"dim={dim!r}, {name} {x.shape}",
            rule=f"{-x.ndim} <= dim < {x.ndim}",
        )
    if x.shape[dim] == 0:
        raise ShapeError(
            f"{name} is empty along dim", called=called, seen=f"dim={dim}, {name} {x.shape}", rule="one entry or more"
        )
    return {"dim": int(dim) % x.ndim}


def check_backward(dy: Array, y: Array, dim: int, called: str) -> dict[str, int]:
    """Raise unless dy has the shape of y; return the options."""
    check_arrays(called, dy=dy, y=y)
    if dy.shape != y.shape:
        raise ShapeError("dy does not have the shape of y", called=called, seen=f"dy {dy.shape}, y {y.shape}")
    return check(y, dim, called, "y")


def softmax_record(needs: tuple[bool, ...], x: Array, *, dim: int = -1) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: y is saved for dx."""
    y = softmax_forward(x, dim=dim)
    return y, {"y": y if needs[0] else None, "options": {"dim": dim}}


def softmax_backward(needs: tuple[bool, ...], saved: dict[str, Any], dy: Array) -> tuple[Array | None, ...]:
    """Gradient of x for the tape."""
    return (softmax_grad_input(dy, saved["y"], **saved["options"]) if needs[0] else None,)


def log_softmax_record(needs: tuple[bool, ...], x: Array, *, dim: int = -1) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: y is saved for dx."""
    y = log_softmax_forward(x, dim=dim)
    return y, {"y": y if needs[0] else None, "options": {"dim": dim}}


def log_softmax_backward(needs: tuple[bool, ...], saved: dict[str, Any], dy: Array) -> tuple[Array | None, ...]:
    """Gradient of x for the tape."""
    return (log_softmax_grad_input(dy, saved["y"], **saved["options"]) if needs[0] else None,)


SOFTMAX = Operation(
    name="softmax",
    formula=r"y_i = \frac{e^{x_i}}{\sum_j e^{x_j}}",
    inputs=("x",),
    record=softmax_record,
    backward=softmax_backward,
    passes=("forward", "grad_input"),
    algorithms=("loops", "formula"),
    cuda=("cuda",),
    package=__name__,
    prefix="softmax_",
)

LOG_SOFTMAX = Operation(
    name="log_softmax",
    formula=r"y_i = x_i - \log \sum_j e^{x_j}",
    inputs=("x",),
    record=log_softmax_record,
    backward=log_softmax_backward,
    passes=("forward", "grad_input"),
    algorithms=("loops", "formula"),
    cuda=("cuda",),
    package=__name__,
    prefix="log_softmax_",
)
