r"""Two-dimensional convolution.

Formula D1.1, as printed, for one channel, stride 1 and no padding::

    y[i,j] = sum_{k=1..K} sum_{l=1..L} x[i+k-1, j+l-1] w[k,l] + b

and D4.1, over channels. Here, for a batch, channels, stride, padding, dilation and groups (indices from 0)::

    y[n,k,p,q] = b[k] + sum_{c,r,s} x[n, g*C/G + c, p*stride + r*dilation - padding, q*stride + s*dilation - padding]
                                    * w[k,c,r,s]        with group g = k // (K/G); x is 0 outside the image

What the documents and every framework call convolution is cross-correlation: the kernel is not flipped. The flip
appears in `grad_input`.

Shapes: `x: (N, C, H, W)`, `w: (K, C/G, R, S)`, `b: (K,)`, `y: (N, K, P, Q)` with
`P = floor((H + 2 padding - dilation (R - 1) - 1) / stride) + 1`, Q alike.

The passes, from `dy = dL/dy`::

    dx[n,c,h,w]   = sum_{k,r,s} dy[n,k,p,q] w[k,c,r,s]   over p*stride = h + padding - r*dilation, q alike
    dw[k,c,r,s]   = sum_{n,p,q} dy[n,k,p,q] x[n, c, p*stride + r*dilation - padding, q*stride + s*dilation - padding]
    db[k]         = sum_{n,p,q} dy[n,k,p,q]

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| winograd4 | F(4x4, 3x3): 4 times fewer products | all | 3x3 kernels of stride 1, float32, most layers |
| winograd2 | F(2x2, 3x3): 2.25 times fewer products | all | the same, few tiles and many channels |
| direct  | register tiles that read the images in place, channels last | all | groups 1: other kernels, strides |
| im2col  | windows as columns of a matrix: one matrix product, in blocks | all | groups; float64 |
| loops   | the formula's loops, compiled | all | float32 and float64 |
| formula | NumPy, one window position at a time: the yardstick | all | any float dtype |
| cuda_naive | the formula, one thread a number | all | on the GPU: all options, float32 and float64 |
| cuda_tiled | a matrix product in tiles of shared memory | all | on the GPU: groups 1 |
| cuda_registers | 8 x 8 numbers of the result in each thread's registers | all | on the GPU: groups 1 |
| cuda_vectorised | tiles fetched 16 bytes at a time while others are multiplied | all | on the GPU: groups 1, float32 |
| cuda_warps | tiles divided among warps, in sizes chosen by layer | all | on the GPU: groups 1, float32: the default |
| cuda_winograd | F(4x4, 3x3), 36 products in one launch | forward, grad_input | 3x3, stride 1, float32; if named |
| cuda_tf32 | on tensor cores, factors rounded to 10 bits | all | on the GPU: float32, groups 1; if it is named |
| cuda_bf16 | on tensor cores, factors rounded to 7 bits | forward, grad_input | the same |
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.registry import Operation, Problem
from minicnn.ops.windows import Pair, check_fits, check_images, is_whole, output_size, pair

Size = int | Pair


def forward(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """y = x * w + b (formula D1.1, D4.1).

    Parameters
    ----------
    x : array (N, C, H, W), float
    w : array (K, C / groups, R, S), same dtype
    b : array (K,), optional
    stride, padding, dilation : int or (vertical, horizontal)
    groups : int
        Channels are split into so many groups that do not see each other.

    Returns
    -------
    array (N, K, P, Q)

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Before any compiled code runs.
    """
    options, shape = check(x, w, b, stride, padding, dilation, groups)
    return OPERATION.run("forward", (x, w, b), options, shape)


def grad_input(
    dy: Array,
    w: Array,
    x_shape: tuple[int, ...],
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """dx: (N, C, H, W), the gradient with respect to x, which had shape `x_shape`."""
    check_arrays("conv2d.grad_input", dy=dy, w=w)
    x_shape = tuple(x_shape)
    options = check_backward(dy, w.shape, x_shape, stride, padding, dilation, groups)
    return OPERATION.run("grad_input", (dy, w), {"x_shape": x_shape, **options}, x_shape)


def grad_weight(
    dy: Array,
    x: Array,
    w_shape: tuple[int, ...],
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """dw: (K, C / groups, R, S), the gradient with respect to w, which had shape `w_shape`."""
    check_arrays("conv2d.grad_weight", dy=dy, x=x)
    w_shape = tuple(w_shape)
    options = check_backward(dy, w_shape, x.shape, stride, padding, dilation, groups)
    return OPERATION.run("grad_weight", (dy, x), {"w_shape": w_shape, **options}, w_shape)


def grad_bias(dy: Array) -> Array:
    """db: (K,), the gradient with respect to b."""
    check_arrays("conv2d.grad_bias", dy=dy)
    check_images(dy, "conv2d.grad_bias", "dy")
    return OPERATION.run("grad_bias", (dy,), {}, dy.shape[1:2])


def check(
    x: Array, w: Array, b: Array | None, stride: Size, padding: Size, dilation: Size, groups: int
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Raise unless the arguments fit; return the options as pairs, and the shape of y."""
    check_arrays("conv2d", x=x, w=w, b=b)
    check_images(x, "conv2d")
    options, y_shape = check_shapes(x.shape, w.shape, stride, padding, dilation, groups)
    if b is not None and b.shape != (w.shape[0],):
        raise ShapeError(
            "b does not fit w", called="conv2d", seen=f"b {b.shape}, w {w.shape}", rule="b: (K,) with K = w.shape[0]"
        )
    return options, y_shape


def check_shapes(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Size, padding: Size, dilation: Size, groups: int
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The part of `check` that needs shapes only."""
    if len(w_shape) != 4 or 0 in w_shape:
        raise ShapeError(
            "w must have 4 axes, none empty", called="conv2d", seen=f"w {w_shape}", rule="w: (K, C / groups, R, S)"
        )
    if not is_whole(groups) or groups < 1:
        raise ArgumentError("groups is not valid", called="conv2d", seen=f"groups={groups!r}", rule="groups >= 1")
    n, c, height, width = x_shape
    k, c_group, r, s = w_shape
    if c != c_group * groups:
        raise ShapeError(
            "the channels of x and w differ",
            called="conv2d",
            seen=f"x {x_shape}, w {w_shape}, groups {groups}",
            rule="C = w.shape[1] * groups",
            hint=f"give {c_group * groups} channels",
        )
    if k % groups:
        raise ShapeError(
            "groups does not divide the output channels",
            called="conv2d",
            seen=f"w {w_shape}, groups {groups}",
            rule="w.shape[0] % groups == 0",
        )
    stride = pair(stride, "stride", "conv2d", least=1)
    padding = pair(padding, "padding", "conv2d", least=0)
    dilation = pair(dilation, "dilation", "conv2d", least=1)
    check_fits((height, width), (r, s), padding, dilation, "conv2d")
    p = output_size(height, r, stride[0], padding[0], dilation[0])
    q = output_size(width, s, stride[1], padding[1], dilation[1])
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": int(groups)}, (n, k, p, q)


def check_backward(
    dy: Array,
    w_shape: tuple[int, ...],
    x_shape: tuple[int, ...],
    stride: Size,
    padding: Size,
    dilation: Size,
    groups: int,
) -> dict[str, Any]:
    """Raise unless dy has the shape that y has; return the options as pairs."""
    if len(x_shape) != 4 or 0 in x_shape[1:]:
        raise ShapeError(
            "x must have 4 axes, none but N empty", called="conv2d", seen=f"x {x_shape}", rule="x: (N, C, H, W)"
        )
    options, y_shape = check_shapes(x_shape, w_shape, stride, padding, dilation, groups)
    if dy.shape != y_shape:
        raise ShapeError("dy does not have the shape of y", called="conv2d", seen=f"dy {dy.shape}, y {y_shape}")
    return options


def record(needs: tuple[bool, ...], x: Array, w: Array, b: Array | None = None, **options: Any) -> tuple[Array, dict]:
    """Forward for the tape: x is saved for dw, w for dx."""
    saved = {"x": x if needs[1] else None, "w": w if needs[0] else None, "x_shape": x.shape, "w_shape": w.shape}
    return forward(x, w, b, **options), {**saved, "options": options}


def backward(needs: tuple[bool, ...], saved: dict, dy: Array) -> tuple[Array | None, ...]:
    """Gradients of (x, w, b) for the tape."""
    options = saved["options"]
    dx = grad_input(dy, saved["w"], saved["x_shape"], **options) if needs[0] else None
    dw = grad_weight(dy, saved["x"], saved["w_shape"], **options) if needs[1] else None
    db = grad_bias(dy) if needs[2] else None
    return dx, dw, db


def _cost(name: str, problem: Problem) -> float:
    """Estimated seconds (`cost.py`, imported with the first convolution)."""
    from minicnn.ops.conv2d.cost import cost

    return cost(name, problem)


OPERATION = Operation(
    name="conv2d",
    formula=r"y_{n,k,p,q} = b_k + \sum_{c,r,s} x_{n,c,p\sigma+r\delta-\pi,q\sigma+s\delta-\pi}\, w_{k,c,r,s}",
    inputs=("x", "w", "b"),
    record=record,
    backward=backward,
    passes=("forward", "grad_input", "grad_weight", "grad_bias"),
    algorithms=("winograd4", "winograd2", "direct", "im2col", "loops", "formula"),
    cuda=(
        "cuda_warps",
        "cuda_vectorised",
        "cuda_registers",
        "cuda_tiled",
        "cuda_naive",
        "cuda_winograd",
        "cuda_tf32",
        "cuda_bf16",
    ),
    package=__name__,
    cost=_cost,
)
