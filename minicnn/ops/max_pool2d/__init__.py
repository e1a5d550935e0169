r"""Two-dimensional max pooling: the largest value of each window.

Formula D1.2, as printed, for one channel, stride 1 and no padding::

    y[i,j] = max_{k,l} x[i+k-1, j+l-1]

and D4.2, over a window of length s along one axis: `p[i,j] = max(y[i,j], ..., y[i,j+s-1])`. Here, for a batch,
channels, stride, padding and dilation (indices from 0)::

    y[n,c,p,q] = max_{r,s} x[n, c, p*stride + r*dilation - padding, q*stride + s*dilation - padding]

    winner[n,c,p,q] = h*W + w of the pixel (h, w) of x that is the maximum

Outside the image x counts as minus infinity, so padding never wins: not over negative values, and a window that holds
nothing but minus infinity has its first pixel *inside the image* as its winner.

Which pixel wins, as in PyTorch: pixels are compared in row-major order (r, then s), and a pixel replaces the best one
so far if it is larger *or NaN*. So the first of several equal maxima wins, NaN beats every number, and of several NaN
the last one wins.

Shapes: `x: (N, C, H, W)`, `y`, `winner`, `dy: (N, C, P, Q)`, for a window of R x S pixels, with
`P = floor((H + 2 padding - dilation (R - 1) - 1) / stride) + 1`, Q alike. With `ceil_mode` the division rounds up
and the last window may hang over the edge, but it starts inside the image or its left padding.

The backward pass, from `dy = dL/dy`: the gradient goes to the winners; windows may share one::

    dx[n,c,h,w] = sum of dy[n,c,p,q] over all (p, q) with winner[n,c,p,q] = h*W + w

Two limits: padding is at most half the kernel (as in PyTorch), and with dilation a window can step over a small image
and see no pixel at all. Such a window has no maximum; it is refused. (PyTorch answers minus infinity and a winner
outside the image.)

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| vector  | vectors over channels, maximum and place in registers | all | float32, float64, preferred |
| loops   | compiled, no padded copy; backward gathers | all | float32, float64 |
| formula | NumPy, one window position at a time: the yardstick | all | any float dtype |
| cuda    | threads over channels, windows cut to the image; backward gathers | all | on the GPU: float32, float64 |
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends.arrays import Array, check_arrays, device, is_array
from minicnn.errors import DeviceError, DTypeError, ShapeError
from minicnn.ops.pooling import Size, check_dy, check_windows, check_x_shape
from minicnn.ops.registry import Operation
from minicnn.ops.windows import check_images


def forward(
    x: Array,
    *,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """The largest value of each window, and where it stood (formula D1.2, D4.2).

    Parameters
    ----------
    x : array (N, C, H, W), float
    kernel_size : int or (vertical, horizontal)
    stride : int or pair, optional
        `kernel_size` if not given.
    padding : int or pair
        At most half the kernel. Padded pixels count as minus infinity.
    dilation : int or pair
    ceil_mode : bool
        Round the size of the output up: a last window may hang over the edge.

    Returns
    -------
    y : array (N, C, P, Q)
    winner : int64 array (N, C, P, Q)
        Flat index h*W + w of the winning pixel in its (unpadded) channel, as PyTorch's `return_indices`.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Before any compiled code runs.
    """
    y, winner = _forward(x, kernel_size, stride, padding, dilation, ceil_mode)
    return y, _as_int64(winner)


def _as_int64(winner: Array) -> Array:
    if device(winner) == "cpu":
        return winner.astype(np.int64, copy=False)
    from minicnn.ops.max_pool2d import cuda

    return cuda.widen(winner)


def _forward(
    x: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """`forward`, with the winner in the whole numbers and the memory that its algorithm chose."""
    check_arrays("max_pool2d", x=x)
    check_images(x, "max_pool2d")
    options, shape = check_options(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    return OPERATION.run("forward", (x,), options, shape, shape)


def grad_input(
    dy: Array,
    winner: Array,
    x_shape: tuple[int, ...],
    *,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Array:
    """dx: (N, C, H, W), the gradient with respect to x of shape `x_shape`; `winner` as `forward` returned it."""
    called = "max_pool2d.grad_input"
    check_arrays(called, dy=dy)
    x_shape = check_x_shape(x_shape, called)
    options, y_shape = check_options(x_shape, kernel_size, stride, padding, dilation, ceil_mode)
    check_dy(dy, y_shape, called)
    if not is_array(winner) or winner.dtype not in (np.int64, np.int32):
        seen = str(winner.dtype) if is_array(winner) else type(winner).__name__
        raise DTypeError(
            "winner is not an array of int64", called=called, seen=seen, rule="winner as forward returned it"
        )
    if winner.shape != y_shape:
        raise ShapeError(
            "winner does not have the shape of y", called=called, seen=f"winner {winner.shape}, y {y_shape}"
        )
    if device(winner) != device(dy):
        raise DeviceError(
            "dy and winner are on different devices", called=called, seen=f"{device(dy)}, {device(winner)}"
        )
    return OPERATION.run("grad_input", (dy, winner), {"x_shape": x_shape, **options}, x_shape)


def check_options(
    x_shape: tuple[int, ...], kernel_size: Size, stride: Size | None, padding: Size, dilation: Size, ceil_mode: bool
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Raise unless every window sees a pixel of the image; return the options as pairs, and the shape of y."""
    options, y_shape = check_windows(x_shape, kernel_size, stride, padding, dilation, ceil_mode, "max_pool2d")
    for axis, name in enumerate(("rows", "columns")):
        size, border, spread = x_shape[2 + axis], options["padding"][axis], options["dilation"][axis]
        starts = range(-border, 0, options["stride"][axis])[: y_shape[2 + axis]]
        for start in starts:
            # the first place of this window at or right of the edge: start % dilation (padding <= half the kernel)
            if start % spread >= size:
                raise ShapeError(
                    f"a window steps over the image: all its {name} lie in the padding",
                    called="max_pool2d",
                    seen=f"input {tuple(x_shape[2:])}, kernel {options['kernel_size']}, padding {options['padding']}, "
                    f"dilation {options['dilation']}",
                    rule="every window sees a pixel of the image",
                    hint="use larger images, or less padding or dilation",
                )
    return options, y_shape


def record(needs: tuple[bool, ...], x: Array, **options: Any) -> tuple[Array, dict]:
    """Forward for the tape: the winners are saved for dx; x itself is not needed again."""
    y, winner = _forward(x, **options)
    return y, {"winner": winner if needs[0] else None, "x_shape": x.shape, "options": options}


def backward(needs: tuple[bool, ...], saved: dict, dy: Array) -> tuple[Array | None, ...]:
    """Gradient of (x,) for the tape."""
    return (grad_input(dy, saved["winner"], saved["x_shape"], **saved["options"]) if needs[0] else None,)


OPERATION = Operation(
    name="max_pool2d",
    formula=r"y_{n,c,p,q} = \max_{r,s}\, x_{n,c,p\sigma+r\delta-\pi,q\sigma+s\delta-\pi}",
    inputs=("x",),
    record=record,
    backward=backward,
    passes=("forward", "grad_input"),
    algorithms=("vector", "loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
