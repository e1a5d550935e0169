"""Axes: what element-wise, reducing and shaping operations share. Axes by number, broadcasting and its reverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.windows import is_whole

Shape = tuple[int, ...]


def one_axis(dim: Any, ndim: int, called: str, name: str = "dim") -> int:
    """`dim` as a number from 0; negative ones count from the last axis. A single number (ndim 0) counts as one axis."""
    if not is_whole(dim):
        raise ArgumentError(f"{name} is not a whole number", called=called, seen=f"{name}={dim!r}")
    many = max(ndim, 1)
    if not -many <= dim < many:
        raise ArgumentError(
            f"no axis {dim} in an array with {ndim} axes",
            called=called,
            seen=f"{name}={dim}",
            rule=f"{-many}..{many - 1}",
        )
    return int(dim) % many


def some_axes(dim: Any, ndim: int, called: str) -> Shape:
    """`dim` as axes in rising order: an int, several, or all of them for None and for () (as in PyTorch)."""
    several = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if dim is None or not several:
        return tuple(range(ndim))
    chosen = [one_axis(d, ndim, called) for d in several]
    if len(set(chosen)) < len(chosen):
        raise ArgumentError("an axis is named twice", called=called, seen=f"dim={dim!r}")
    return tuple(sorted(chosen)) if ndim else ()


def permutation(dims: Any, ndim: int, called: str) -> Shape:
    """`dims` as an order of all axes, each named once."""
    several = dims if isinstance(dims, (tuple, list)) else (dims,)
    order = tuple(one_axis(d, ndim, called, "dims") for d in several)
    if sorted(order) != list(range(ndim)):
        raise ArgumentError(
            "dims is not an order of the axes",
            called=called,
            seen=f"dims={dims!r}",
            rule=f"each of the {ndim} axes once",
        )
    return order


def broadcast_shape(called: str, **shapes: Shape) -> Shape:
    """The shape that operands of these shapes have together, by NumPy's rule."""
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        raise ShapeError(
            "the shapes do not broadcast",
            called=called,
            seen=", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items()),
            rule="from the right, axes are equal or one is 1",
        ) from None


def unbroadcast(dy: Array, shape: Shape) -> Array:
    """The sum of `dy` over the axes along which an operand of that shape was repeated.

    An operand used several times gets the sum of the gradients. NumPy adds in an order that shape and strides decide.
    May return `dy` itself.
    """
    missing = dy.ndim - len(shape)
    repeated = [missing + axis for axis, size in enumerate(shape) if size == 1 and dy.shape[missing + axis] != 1]
    axes = (*range(missing), *repeated)
    return dy.sum(axis=axes, keepdims=True).reshape(shape) if axes else dy


def check_gradient(dy: Array, y_shape: Sequence[int], called: str) -> None:
    """Raise unless dy has the shape of y."""
    if dy.shape != tuple(y_shape):
        raise ShapeError("dy does not have the shape of y", called=called, seen=f"dy {dy.shape}, y {tuple(y_shape)}")
