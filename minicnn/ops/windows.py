"""Sliding windows: what convolution and pooling share. Arguments as pairs, and the size of the output."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.errors import ArgumentError, ShapeError

Pair = tuple[int, int]


def pair(value: Any, name: str, called: str, *, least: int) -> Pair:
    """`value` as a pair (vertical, horizontal) of whole numbers >= `least`; an int counts for both."""
    both = (value, value) if not isinstance(value, (tuple, list)) else tuple(value)
    if len(both) != 2 or not all(is_whole(v) for v in both) or min(both) < least:
        raise ArgumentError(
            f"{name} is not valid", called=called, seen=f"{name}={value!r}", rule=f"a whole number >= {least}, or two"
        )
    return int(both[0]), int(both[1])


def is_whole(value: Any) -> bool:
    """Whether `value` is an integer (NumPy's count, True and False do not)."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int, *, ceil_mode: bool = False) -> int:
    """Number of window positions along one axis.

    floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1. With `ceil_mode` the division rounds up, but the
    last window must start inside the image or its left padding (as in PyTorch).
    """
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return span // stride + 1
    positions = -(-span // stride) + 1
    return positions - 1 if (positions - 1) * stride >= size + padding else positions


def pad(x: Array, padding: Pair, value: float = 0.0) -> Array:
    """`x` (N, C, H, W), contiguous, with `padding` rows and columns of `value` on each side."""
    if padding == (0, 0):
        return np.ascontiguousarray(x)
    sides = ((0, 0), (0, 0), (padding[0], padding[0]), (padding[1], padding[1]))
    return np.pad(x, sides, constant_values=value)


def check_images(x: Any, called: str, name: str = "x") -> None:
    """Raise unless `x` has four axes (N, C, H, W), none of which but N is empty."""
    if x.ndim != 4:
        raise ShapeError(
            f"{name} must have 4 axes",
            called=called,
            seen=f"{name} {x.shape}",
            rule=f"{name}: (N, C, H, W)",
            hint="add the batch axis with x[None]" if x.ndim == 3 else "",
        )
    if 0 in x.shape[1:]:
        raise ShapeError(f"{name} has an empty axis", called=called, seen=f"{name} {x.shape}", rule="C, H, W >= 1")


def check_fits(size: Pair, kernel: Pair, padding: Pair, dilation: Pair, called: str) -> None:
    """Raise unless the dilated kernel fits into the padded image."""
    for axis, name in enumerate(("height", "width")):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        padded = size[axis] + 2 * padding[axis]
        if span > padded:
            raise ShapeError(
                f"the kernel is larger than the padded input in {name}",
                called=called,
                seen=f"kernel {kernel} with dilation {dilation} spans {span}, input {size} with padding {padding} "
                f"is {padded}",
                rule="dilation * (kernel - 1) + 1 <= size + 2 * padding",
                hint="use larger images, a smaller kernel or more padding",
            )
