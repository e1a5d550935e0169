r"""Two-dimensional average pooling: the mean of each window.

Named in the documents beside max pooling (D4.2), with the mean in place of the maximum. For a batch, channels, stride
and padding (indices from 0)::

    y[n,c,p,q] = 1/A[p,q] sum_{r,s} x[n, c, p*stride + r - padding, q*stride + s - padding]

where x is 0 outside the image.

The divisor A[p,q] counts pixels of the window, as in PyTorch:

- `count_include_pad=True`: those of the padded image. A window that hangs over the padded edge (`ceil_mode`)
  counts only what lies inside that edge, so A can be smaller than R*S.
- `count_include_pad=False`: those of the image.

Shapes: `x: (N, C, H, W)`, `y`, `dy: (N, C, P, Q)` with `P = floor((H + 2 padding - R) / stride) + 1`, Q alike, for a
window of R x S pixels. With `ceil_mode` the division rounds up, but the last window starts inside the image or its
left padding.

The backward pass, from `dy = dL/dy`: each pixel gets its share from every window that holds it::

    dx[n,c,h,w] = sum of dy[n,c,p,q] / A[p,q] over all windows (p, q) that hold (h, w)

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| vector  | vectors over channels; windows cut to the image beforehand | all | float32, float64; preferred |
| loops   | compiled; windows cut to the image beforehand; backward gathers | all | float32, float64 |
| formula | NumPy, one window position at a time: the yardstick | all | any float dtype |
| cuda    | threads over channels; backward gathers | all | on the GPU: float32, float64 |
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.ops.pooling import Size, check_dy, check_windows, check_x_shape, flag
from minicnn.ops.registry import Operation
from minicnn.ops.windows import check_images


def forward(
    x: Array,
    *,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window.

    Parameters
    ----------
    x : array (N, C, H, W), float
    kernel_size : int or (vertical, horizontal)
    stride : int or pair, optional
        `kernel_size` if not given.
    padding : int or pair
        Zeros on each side; at most half the kernel.
    ceil_mode : bool
        Round the size of the output up: a last window may hang over the edge.
    count_include_pad : bool
        Whether padded zeros count in the divisor.

    Returns
    -------
    array (N, C, P, Q)

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Before any compiled code runs.
    """
    check_arrays("avg_pool2d", x=x)
    check_images(x, "avg_pool2d")
    options, shape = check_options(x.shape, kernel_size, stride, padding, ceil_mode, count_include_pad)
    return OPERATION.run("forward", (x,), options, shape)


def grad_input(
    dy: Array,
    x_shape: tuple[int, ...],
    *,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """dx: (N, C, H, W), the gradient with respect to x, which had shape `x_shape`."""
    called = "avg_pool2d.grad_input"
    check_arrays(called, dy=dy)
    x_shape = check_x_shape(x_shape, called)
    options, y_shape = check_options(x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad)
    check_dy(dy, y_shape, called)
    return OPERATION.run("grad_input", (dy,), {"x_shape": x_shape, **options}, x_shape)


def check_options(
    x_shape: tuple[int, ...],
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    ceil_mode: bool,
    count_include_pad: bool,
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Raise unless the windows fit the image; return the options as pairs, and the shape of y."""
    options, y_shape = check_windows(x_shape, kernel_size, stride, padding, 1, ceil_mode, "avg_pool2d")
    del options["dilation"]
    options["count_include_pad"] = flag(count_include_pad, "count_include_pad", "avg_pool2d")
    return options, y_shape


def record(needs: tuple[bool, ...], x: Array, **options: Any) -> tuple[Array, dict]:
    """Forward for the tape: the gradient needs shapes only."""
    return forward(x, **options), {"x_shape": x.shape, "options": options}


def backward(needs: tuple[bool, ...], saved: dict, dy: Array) -> tuple[Array | None, ...]:
    """Gradient of (x,) for the tape."""
    return (grad_input(dy, saved["x_shape"], **saved["options"]) if needs[0] else None,)


OPERATION = Operation(
    name="avg_pool2d",
    formula=r"y_{n,c,p,q} = \frac{1}{A_{p,q}} \sum_{r,s} x_{n,c,p\sigma+r-\pi,q\sigma+s-\pi}",
    inputs=("x",),
    record=record,
    backward=backward,
    passes=("forward", "grad_input"),
    algorithms=("vector", "loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
