"""What the pooling operations share: the check of their arguments, before any compiled code runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.windows import Pair, check_fits, is_whole, output_size, pair

Size = int | Pair


def check_windows(
    x_shape: tuple[int, ...],
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
    called: str,
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Raise unless the windows fit the image; return the options as pairs, and the shape of y."""
    kernel = pair(kernel_size, "kernel_size", called, least=1)
    step = kernel if stride is None else pair(stride, "stride", called, least=1)
    border = pair(padding, "padding", called, least=0)
    spread = pair(dilation, "dilation", called, least=1)
    if any(2 * b > k for b, k in zip(border, kernel, strict=True)):
        raise ArgumentError(
            "padding is more than half the kernel",
            called=called,
            seen=f"padding {border}, kernel_size {kernel}",
            rule="2 * padding <= kernel_size",
            hint=f"pad by at most {tuple(k // 2 for k in kernel)}",
        )
    ceil_mode = flag(ceil_mode, "ceil_mode", called)
    height, width = x_shape[2:]
    if not ceil_mode:
        check_fits((height, width), kernel, border, spread, called)
    out = [
        output_size(size, kernel[a], step[a], border[a], spread[a], ceil_mode=ceil_mode)
        for a, size in enumerate((height, width))
    ]
    if min(out) < 1:  # with ceil_mode a kernel may hang over the edge, but not by a whole stride
        raise ShapeError(
            "the kernel is larger than the padded input",
            called=called,
            seen=f"kernel {kernel}, dilation {spread}, stride {step}, padding {border}, input {(height, width)}",
            rule="with ceil_mode: dilation * (kernel - 1) + 1 < size + 2 * padding + stride",
            hint="use larger images, a smaller kernel or more padding",
        )
    options = {"kernel_size": kernel, "stride": step, "padding": border, "dilation": spread, "ceil_mode": ceil_mode}
    return options, (*x_shape[:2], *out)


def check_x_shape(x_shape: Any, called: str) -> tuple[int, ...]:
    """`x_shape` as four whole numbers, none of which but N is zero."""
    shape = tuple(x_shape)
    if len(shape) != 4 or not all(is_whole(v) for v in shape) or shape[0] < 0 or min(shape[1:]) < 1:
        raise ShapeError(
            "x_shape is not the shape of images",
            called=called,
            seen=f"x_shape {x_shape}",
            rule="(N, C, H, W), not empty",
        )
    return tuple(int(v) for v in shape)


def check_dy(dy: Any, y_shape: tuple[int, ...], called: str) -> None:
    """Raise unless dy has the shape that y has."""
    if dy.shape != y_shape:
        raise ShapeError("dy does not have the shape of y", called=called, seen=f"dy {dy.shape}, y {y_shape}")


def flag(value: Any, name: str, called: str) -> bool:
    """`value` as a bool; anything else is an error."""
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{name} is not valid", called=called, seen=f"{name}={value!r}", rule="True or False")
    return bool(value)
