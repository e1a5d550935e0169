r"""Reductions: the sum, the mean and the maximum over some axes of an array.

Formula, over the axes `dim` (an int, several, or all for None), of which B elements are reduced to one::

    sum    y = sum x          dx = dy
    mean   y = 1/B sum x      dx = dy / B
    max    y = max x          dx = dy at the maximum, 0 elsewhere

Shapes: `x: any`; `y`, `dy`: x without the axes `dim`, or with length 1 there if `keepdim`. In a gradient each element
of dy goes to all the elements of x that it was made of.

Where several elements are the maximum, as in PyTorch: along one axis (`dim` an int) the gradient goes to the first of
them, whose index `Tensor.max(dim)` returns; over all axes, or a tuple of them (`x.max()`, PyTorch's `x.amax(dim)`),
they share it evenly. NaN is larger than every number, so it travels; when the gradient looks for the maxima, NaN
equals NaN.

sum and max also take integers and booleans, e.g. to count hits: `(predicted == labels).sum()` is an int64.
Of nothing the sum is 0, the mean NaN, and there is no maximum.

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| vector  | vectors over memory as it lies, on all threads; sums in float64 | all | float32, float64; many numbers |
| formula | NumPy: its own vector code, pairwise sums | all | any dtype; otherwise preferred |
| loops   | compiled, on all threads; sums in fixed blocks, added in order | all | float32 and float64 |
| cuda    | blocks fold rows or columns of memory; sums in float64, in fixed chunks | all | on the GPU |
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minicnn.backends.arrays import Array, check_arrays, is_array
from minicnn.errors import DTypeError, ShapeError
from minicnn.ops.axes import Shape, check_gradient, some_axes
from minicnn.ops.registry import Operation, Problem
from minicnn.ops.windows import is_whole

Saved = dict[str, Any]
Dim = int | tuple[int, ...] | None


def sum_forward(x: Array, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """y = sum of x over the axes `dim`; 0 where there is nothing to add."""
    return _forward(SUM, x, dim, keepdim)


def sum_grad_input(dy: Array, x_shape: Shape, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """dx = dy, repeated along the axes `dim` of x, which had shape `x_shape`."""
    dy = _spread(dy, x_shape, dim, keepdim, "sum.grad_input")
    return _run(SUM, "grad_input", (dy,), {"x_shape": tuple(x_shape)}, tuple(x_shape))


def mean_forward(x: Array, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """y = sum of x over the axes `dim`, divided by the number of elements; NaN where there are none."""
    check_arrays("mean", x=x)
    return _forward(MEAN, x, dim, keepdim)


def mean_grad_input(dy: Array, x_shape: Shape, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """dx = dy / B, repeated along the axes `dim` of x, which had shape `x_shape`."""
    dy = _spread(dy, x_shape, dim, keepdim, "mean.grad_input")
    return _run(MEAN, "grad_input", (dy,), {"x_shape": tuple(x_shape)}, tuple(x_shape))


def max_forward(x: Array, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """y = the largest element of x over the axes `dim`; NaN where there is one."""
    _check_any(x, "max")
    axes = some_axes(dim, x.ndim, "max")
    if 0 in (x.shape[axis] for axis in axes):
        raise ShapeError("there is no maximum of nothing", called="max", seen=f"x {x.shape}, dim={dim}")
    return _forward(MAX, x, dim, keepdim)


def max_grad_input(dy: Array, x: Array, y: Array, *, dim: Dim = None, keepdim: bool = False) -> Array:
    """dx = dy where x is the maximum `y`, 0 elsewhere.

    Of several maxima the first takes all if `dim` is an int; otherwise they share evenly.
    """
    called = "max.grad_input"
    check_arrays(called, dy=dy, x=x, y=y)
    dy, y = (_spread(a, x.shape, dim, keepdim, called) for a in (dy, y))
    axes = some_axes(dim, x.ndim, called)
    return _run(MAX, "grad_input", (dy, x, y), {"dim": axes, "share": not is_whole(dim)}, x.shape)


def _forward(op: Operation, x: Array, dim: Dim, keepdim: bool) -> Array:
    _check_any(x, op.name)
    axes = some_axes(dim, x.ndim, op.name)
    shape = _kept(x.shape, axes)
    if not keepdim:
        shape = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return _run(op, "forward", (x,), {"dim": axes, "keepdim": bool(keepdim)}, shape)


def _run(op: Operation, pass_name: str, arrays: tuple[Array, ...], options: dict[str, Any], shape: Shape) -> Array:
    """Run one pass: infinity and NaN come without a warning, and a single number comes as an array without axes."""
    with np.errstate(all="ignore"):
        y = op.run(pass_name, arrays, options, shape)
    return y if is_array(y) else np.asarray(y)


def _kept(x_shape: Shape, axes: Shape) -> Shape:
    """The shape of y with keepdim."""
    return tuple(1 if axis in axes else size for axis, size in enumerate(x_shape))


def _spread(dy: Array, x_shape: Shape, dim: Dim, keepdim: bool, called: str) -> Array:
    """`dy` (or y) with the shape that it has with keepdim; raises unless it has the shape of y."""
    check_arrays(called, dy=dy)
    axes = some_axes(dim, len(x_shape), called)
    kept = _kept(tuple(x_shape), axes)
    y_shape = kept if keepdim else tuple(size for axis, size in enumerate(x_shape) if axis not in axes)
    check_gradient(dy, y_shape, called)
    return dy.reshape(kept)


def _check_any(x: Any, called: str) -> None:
    if not is_array(x) or x.dtype.kind not in "fiub":
        seen = str(x.dtype) if is_array(x) else type(x).__name__
        raise DTypeError("x is not an array of numbers", called=called, seen=seen, rule="arrays in, arrays out")


def _sum_record(_: tuple[bool, ...], x: Array, **options: Any) -> tuple[Array, Saved]:
    return sum_forward(x, **options), {"x_shape": x.shape, "options": options}


def _sum_backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
    return (sum_grad_input(dy, saved["x_shape"], **saved["options"]) if needs[0] else None,)


def _mean_record(_: tuple[bool, ...], x: Array, **options: Any) -> tuple[Array, Saved]:
    return mean_forward(x, **options), {"x_shape": x.shape, "options": options}


def _mean_backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
    return (mean_grad_input(dy, saved["x_shape"], **saved["options"]) if needs[0] else None,)


def _max_record(needs: tuple[bool, ...], x: Array, **options: Any) -> tuple[Array, Saved]:
    y = max_forward(x, **options)
    return y, {"x": x if needs[0] else None, "y": y if needs[0] else None, "options": options}


def _max_backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
    return (max_grad_input(dy, saved["x"], saved["y"], **saved["options"]) if needs[0] else None,)


SECONDS = {"vector": (40e-6, 0.1e-9), "formula": (8e-6, 0.22e-9), "loops": (14e-6, 0.4e-9)}  # of a call, of a number


def _cost(name: str, problem: Problem) -> float:
    """Estimated seconds: to wake threads takes longer than NumPy needs for some 2^18 numbers."""
    call, number = SECONDS[name]
    shape: Any = problem.options.get("x_shape", problem.shapes[0])
    return call + number * math.prod(shape)


def _operation(name: str, formula: str, record: Any, backward: Any) -> Operation:
    return Operation(
        name=name,
        formula=formula,
        inputs=("x",),
        record=record,
        backward=backward,
        passes=("forward", "grad_input"),
        algorithms=("vector", "formula", "loops"),
        cuda=("cuda",),
        package=__name__,
        prefix=f"{name}_",
        cost=_cost,
    )


SUM = _operation("sum", r"y = \sum x", _sum_record, _sum_backward)
MEAN = _operation("mean", r"y = \frac{1}{B} \sum x", _mean_record, _mean_backward)
MAX = _operation("max", r"y = \max x", _max_record, _max_backward)
