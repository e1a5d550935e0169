r"""The fully connected (linear) layer.

Formula D1.3, as printed, for one output::

    y = sum_{i=1..I} x[i] w[i] + b

Here, for any number of leading axes and J outputs (indices from 0)::

    y[...,j] = b[j] + sum_i x[...,i] w[j,i]

Shapes: `x: (..., I)`, `w: (J, I)`, `b: (J,)`, `y: (..., J)`.

The passes, from `dy = dL/dy`, with n over all leading axes::

    dx[n,i] = sum_j dy[n,j] w[j,i]
    dw[j,i] = sum_n dy[n,j] x[n,i]
    db[j]   = sum_n dy[n,j]

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| tiled   | one matrix product in register tiles, the bias included | all | float32 and float64, preferred |
| matmul  | one matrix product, by the blocked kernel | all | float32 and float64 |
| loops   | the formula's loops, compiled | all | float32 and float64 |
| formula | NumPy, one einsum: the yardstick | all | any float dtype |
| cuda    | one matrix product in register tiles, the bias included | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ShapeError
from minicnn.ops.registry import Operation


def forward(x: Array, w: Array, b: Array | None = None) -> Array:
    """y = x @ w^T + b (formula D1.3).

    Parameters
    ----------
    x : array (..., I), float
    w : array (J, I), same dtype
    b : array (J,), optional

    Returns
    -------
    array (..., J)

    Raises
    ------
    ShapeError, DTypeError
        Before any compiled code runs.
    """
    check_arrays("linear", x=x, w=w, b=b)
    check_weight(w, "linear")
    check_last(x, "x", w.shape[1], f"x {x.shape}, w {w.shape}", "linear")
    if b is not None and b.shape != w.shape[:1]:
        raise ShapeError(
            "b does not fit w", called="linear", seen=f"b {b.shape}, w {w.shape}", rule="b: (J,) with J = w.shape[0]"
        )
    return OPERATION.run("forward", (x, w, b), {}, (*x.shape[:-1], w.shape[0]))


def grad_input(dy: Array, w: Array) -> Array:
    """dx: (..., I), the gradient with respect to x."""
    called = "linear.grad_input"
    check_arrays(called, dy=dy, w=w)
    check_weight(w, called)
    check_last(dy, "dy", w.shape[0], f"dy {dy.shape}, w {w.shape}", called)
    return OPERATION.run("grad_input", (dy, w), {}, (*dy.shape[:-1], w.shape[1]))


def grad_weight(dy: Array, x: Array) -> Array:
    """dw: (J, I), the gradient with respect to w."""
    called = "linear.grad_weight"
    check_arrays(called, dy=dy, x=x)
    check_last(dy, "dy", None, f"dy {dy.shape}", called)
    check_last(x, "x", None, f"x {x.shape}", called)
    if dy.shape[:-1] != x.shape[:-1]:
        raise ShapeError(
            "dy and x have different leading axes",
            called=called,
            seen=f"dy {dy.shape}, x {x.shape}",
            rule="dy: (..., J), x: (..., I)",
        )
    return OPERATION.run("grad_weight", (dy, x), {}, (dy.shape[-1], x.shape[-1]))


def grad_bias(dy: Array) -> Array:
    """db: (J,), the gradient with respect to b."""
    check_arrays("linear.grad_bias", dy=dy)
    check_last(dy, "dy", None, f"dy {dy.shape}", "linear.grad_bias")
    return OPERATION.run("grad_bias", (dy,), {}, dy.shape[-1:])


def check_weight(w: Array, called: str) -> None:
    """Raise unless w is a matrix with at least one input and one output."""
    if w.ndim != 2 or 0 in w.shape:
        raise ShapeError("w must have 2 axes, none empty", called=called, seen=f"w {w.shape}", rule="w: (J, I)")


def check_last(x: Array, name: str, size: int | None, seen: str, called: str) -> None:
    """Raise unless the last axis of x has `size` entries (any number but 0 for None)."""
    letter = "J" if name == "dy" else "I"
    rule = f"{name}: (..., {letter}), w: (J, I)"
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ShapeError(f"{name} has no last axis, or an empty one", called=called, seen=seen, rule=rule)
    if size is not None and x.shape[-1] != size:
        what = "features" if name == "x" else "outputs"
        hint = f"give {size} {what}"
        if name == "x" and x.ndim > 2 and x[0].size == size:
            hint = "flatten the images first: x.reshape(N, -1)"
        raise ShapeError(f"the {what} of {name} and w differ", called=called, seen=seen, rule=rule, hint=hint)


def record(needs: tuple[bool, ...], x: Array, w: Array, b: Array | None = None) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: x is saved for dw, w for dx."""
    saved = {"x": x if needs[1] else None, "w": w if needs[0] else None}
    return forward(x, w, b), {**saved, "options": {}}


def backward(needs: tuple[bool, ...], saved: dict[str, Any], dy: Array) -> tuple[Array | None, ...]:
    """Gradients of (x, w, b) for the tape."""
    dx = grad_input(dy, saved["w"]) if needs[0] else None
    dw = grad_weight(dy, saved["x"]) if needs[1] else None
    db = grad_bias(dy) if needs[2] else None
    return dx, dw, db


OPERATION = Operation(
    name="linear",
    formula=r"y_j = b_j + \sum_i x_i\, w_{j,i}",
    inputs=("x", "w", "b"),
    record=record,
    backward=backward,
    passes=("forward", "grad_input", "grad_weight", "grad_bias"),
    algorithms=("tiled", "matmul", "loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
