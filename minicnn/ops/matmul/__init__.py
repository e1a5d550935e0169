r"""Matrix product, of two matrices or of two stacks of matrices.

Formula::

    y[...,m,n] = sum_k a[...,m,k] b[...,k,n]

Shapes: `a: (..., M, K)`, `b: (..., K, N)`, `y: (..., M, N)`; the leading axes follow NumPy's broadcasting. As in NumPy
and PyTorch a one-dimensional `a: (K,)` counts as one row and `b: (K,)` as one column, and that axis is missing in y.
Algorithms always see the two axes.

The passes, from `dy = dL/dy`, with a sum over the leading axes along which an operand was repeated::

    da[...,m,k] = sum_n dy[...,m,n] b[...,k,n]        da = dy @ b^T
    db[...,k,n] = sum_m a[...,m,k] dy[...,m,n]        db = a^T @ dy

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| tiled   | tiles of the result in registers, operands in panels | all | float32 and float64, preferred |
| blocked | 4 x 4 entries at a time along rows that stay in the cache | all | float32 and float64 |
| loops   | the formula's loops, compiled | all | float32 and float64 |
| formula | NumPy, one einsum: the yardstick | all | any float dtype |
| cuda    | tiles in shared memory and registers; long K in parts | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ShapeError
from minicnn.ops.registry import Operation

Shape = tuple[int, ...]


def forward(a: Array, b: Array) -> Array:
    """y = a @ b.

    Parameters
    ----------
    a : array (..., M, K) or (K,), float
    b : array (..., K, N) or (K,), same dtype
        M and the leading axes may be empty.

    Returns
    -------
    array (..., M, N), without M where a is one-dimensional, without N where b is

    Raises
    ------
    ShapeError, DTypeError
        Before any compiled code runs.
    """
    check_arrays("matmul", a=a, b=b)
    a_full, b_full, y_full, y_shape = check_shapes(a.shape, b.shape, "matmul")
    return OPERATION.run("forward", (a.reshape(a_full), b.reshape(b_full)), {}, y_full).reshape(y_shape)


def grad_a(dy: Array, b: Array, a_shape: Shape) -> Array:
    """da: the gradient with respect to a, which had shape `a_shape`."""
    called = "matmul.grad_a"
    check_arrays(called, dy=dy, b=b)
    a_full, b_full, y_full, y_shape = check_shapes(tuple(a_shape), b.shape, called)
    check_gradient(dy, y_shape, called)
    arrays = dy.reshape(y_full), b.reshape(b_full)
    return OPERATION.run("grad_a", arrays, {"a_shape": a_full}, a_full).reshape(a_shape)


def grad_b(dy: Array, a: Array, b_shape: Shape) -> Array:
    """db: the gradient with respect to b, which had shape `b_shape`."""
    called = "matmul.grad_b"
    check_arrays(called, dy=dy, a=a)
    a_full, b_full, y_full, y_shape = check_shapes(a.shape, tuple(b_shape), called)
    check_gradient(dy, y_shape, called)
    arrays = dy.reshape(y_full), a.reshape(a_full)
    return OPERATION.run("grad_b", arrays, {"b_shape": b_full}, b_full).reshape(b_shape)


def check_shapes(a_shape: Shape, b_shape: Shape, called: str) -> tuple[Shape, Shape, Shape, Shape]:
    """Raise unless the shapes fit; return those of a, b and y with at least two axes, and that of the result."""
    seen = f"a {a_shape}, b {b_shape}"
    if not a_shape or not b_shape:
        raise ShapeError("a and b need at least one axis", called=called, seen=seen, hint="multiply numbers with *")
    a_full = a_shape if len(a_shape) > 1 else (1, *a_shape)
    b_full = b_shape if len(b_shape) > 1 else (*b_shape, 1)
    if a_full[-1] != b_full[-2]:
        raise ShapeError(
            "the inner axes of a and b differ",
            called=called,
            seen=seen,
            rule="a: (..., M, K), b: (..., K, N)",
            hint="transpose b" if a_full[-1] == b_full[-1] else "",
        )
    if 0 in (a_full[-1], b_full[-1]):
        raise ShapeError("a and b share or span an empty axis", called=called, seen=seen, rule="K, N >= 1")
    try:
        batch = np.broadcast_shapes(a_full[:-2], b_full[:-2])
    except ValueError:
        raise ShapeError(
            "the leading axes of a and b do not broadcast",
            called=called,
            seen=seen,
            rule="from the right, leading axes are equal or one of them is 1",
        ) from None
    y_shape = batch + (a_full[-2:-1] if len(a_shape) > 1 else ()) + (b_full[-1:] if len(b_shape) > 1 else ())
    return a_full, b_full, (*batch, a_full[-2], b_full[-1]), y_shape


def check_gradient(dy: Array, y_shape: Shape, called: str) -> None:
    """Raise unless dy has the shape of y."""
    if dy.shape != y_shape:
        raise ShapeError("dy does not have the shape of y", called=called, seen=f"dy {dy.shape}, y {y_shape}")


def record(needs: tuple[bool, ...], a: Array, b: Array) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: a is saved for db, b for da."""
    saved = {"a": a if needs[1] else None, "b": b if needs[0] else None, "a_shape": a.shape, "b_shape": b.shape}
    return forward(a, b), {**saved, "options": {}}


def backward(needs: tuple[bool, ...], saved: dict[str, Any], dy: Array) -> tuple[Array | None, ...]:
    """Gradients of (a, b) for the tape."""
    da = grad_a(dy, saved["b"], saved["a_shape"]) if needs[0] else None
    db = grad_b(dy, saved["a"], saved["b_shape"]) if needs[1] else None
    return da, db


OPERATION = Operation(
    name="matmul",
    formula=r"y_{m,n} = \sum_k a_{m,k}\, b_{k,n}",
    inputs=("a", "b"),
    record=record,
    backward=backward,
    passes=("forward", "grad_a", "grad_b"),
    algorithms=("tiled", "blocked", "loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
