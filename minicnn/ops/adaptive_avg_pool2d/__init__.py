r"""Adaptive average pooling: the mean of each of P x Q windows, whatever the size of the image.

Not the window but the size of the output is given. Window p holds the rows from `floor(p H / P)` up to, not including,
`ceil((p + 1) H / P)`, columns alike: together they cover the image, and neighbours may share a row where P does not
divide H::

    y[n,c,p,q] = 1/(rows(p) columns(q)) sum_{h in window p, w in window q} x[n,c,h,w]

With an output of 1 x 1 it is the mean of the whole image (global average pooling), the last layer before a ResNet's
head. Where P divides H it equals `avg_pool2d` with kernel and stride H/P. P may be larger than H; then rows repeat.

Shapes: `x: (N, C, H, W)`, `y`, `dy: (N, C, P, Q)`.

The backward pass, from `dy = dL/dy`: each pixel gets its share from every window that holds it::

    dx[n,c,h,w] = sum of dy[n,c,p,q] / (rows(p) columns(q)) over all windows (p, q) that hold (h, w)

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| vector  | vectors over channels | all | output 1 x 1; float32, float64, preferred |
| loops   | average pooling's kernels with other windows; own kernels for 1 x 1 | all | float32, float64 |
| formula | NumPy, one window at a time: the yardstick | all | any float dtype |
| cuda    | average pooling's kernels; own ones for 1 x 1 | all | on the GPU: float32, float64 |
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ArgumentError
from minicnn.ops.pooling import check_dy, check_x_shape
from minicnn.ops.registry import Operation
from minicnn.ops.windows import Pair, check_images, is_whole

OutputSize = int | tuple[int | None, int | None]


def forward(x: Array, *, output_size: OutputSize) -> Array:
    """The mean of each of P x Q windows that cover the image.

    Parameters
    ----------
    x : array (N, C, H, W), float
    output_size : int or (int or None, int or None)
        P and Q; an int counts for both, None in a pair keeps the size of that axis.

    Returns
    -------
    array (N, C, P, Q)

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Before any compiled code runs.
    """
    check_arrays("adaptive_avg_pool2d", x=x)
    check_images(x, "adaptive_avg_pool2d")
    out = check_output_size(output_size, x.shape)
    return OPERATION.run("forward", (x,), {"output_size": out}, (*x.shape[:2], *out))


def grad_input(dy: Array, x_shape: tuple[int, ...]) -> Array:
    """dx: (N, C, H, W), the gradient with respect to x, which had shape `x_shape`."""
    called = "adaptive_avg_pool2d.grad_input"
    check_arrays(called, dy=dy)
    check_images(dy, called, "dy")
    x_shape = check_x_shape(x_shape, called)
    check_dy(dy, (*x_shape[:2], *dy.shape[2:]), called)
    return OPERATION.run("grad_input", (dy,), {"x_shape": x_shape}, x_shape)


def check_output_size(output_size: Any, x_shape: tuple[int, ...]) -> Pair:
    """(P, Q) as two whole numbers."""
    if isinstance(output_size, (tuple, list)):
        whole = [size if v is None else v for v, size in zip(output_size, x_shape[2:], strict=False)]
        whole = whole if len(output_size) == 2 else []
    else:
        whole = [output_size, output_size]
    if not whole or not all(is_whole(v) and v >= 1 for v in whole):
        raise ArgumentError(
            "output_size is not valid",
            called="adaptive_avg_pool2d",
            seen=f"output_size={output_size!r}",
            rule="a whole number >= 1, or two of them; None in a pair keeps the size",
        )
    return int(whole[0]), int(whole[1])


def record(needs: tuple[bool, ...], x: Array, **options: Any) -> tuple[Array, dict]:
    """Forward for the tape: the gradient needs shapes only."""
    return forward(x, **options), {"x_shape": x.shape, "options": options}


def backward(needs: tuple[bool, ...], saved: dict, dy: Array) -> tuple[Array | None, ...]:
    """Gradient of (x,) for the tape."""
    return (grad_input(dy, saved["x_shape"]) if needs[0] else None,)


OPERATION = Operation(
    name="adaptive_avg_pool2d",
    formula=r"y_{n,c,p,q} = \frac{1}{A_{p,q}} \sum_{h=\lfloor pH/P \rfloor}^{\lceil (p+1)H/P \rceil - 1}"
    r" \sum_{w=\lfloor qW/Q \rfloor}^{\lceil (q+1)W/Q \rceil - 1} x_{n,c,h,w}",
    inputs=("x",),
    record=record,
    backward=backward,
    passes=("forward", "grad_input"),
    algorithms=("vector", "loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
