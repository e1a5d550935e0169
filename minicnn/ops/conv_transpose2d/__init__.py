r"""Transposed convolution: the adjoint of `conv2d`, by which a decoder makes images larger.

Each pixel of x lays a copy of the kernel, times its value, onto y; where copies overlap, they add up. For a batch,
channels, stride, padding, dilation and groups (indices from 0)::

    y[n,k,p,q] = b[k] + sum_{c,h,v,r,s} x[n, g*C/G + c, h, v] w[g*C/G + c, k - g*K/G, r, s]
                        over p = h*stride + r*dilation - padding, q = v*stride + s*dilation - padding
                        with group g = k // (K/G)

Shapes: `x: (N, C, H, W)`, `w: (C, K/G, R, S)`, `b: (K,)`, `y: (N, K, P, Q)` with
`P = (H - 1) stride - 2 padding + dilation (R - 1) + 1 + output_padding`, Q alike.

A convolution of stride > 1 gives images of several sizes the same size: 7 and 8 rows both become 4. So the size of y is
not known from that of x, and `output_padding` says how many rows and columns y has more, below and on the right. It
adds no zeros: what falls there is computed like everywhere else. As in PyTorch it is smaller than stride or dilation.

Why this is `conv2d` turned round: without bias y = A x is linear, and A is the transposed matrix of the convolution
with the same w (C kernels for images of K channels), stride, padding, dilation and groups: the sum above is that of
`conv2d`'s dx, with x in the place of dy. Hence the passes, from `dy = dL/dy`, each by the definition of the gradient
of a sum::

    dx[n,c,h,v]  = sum_{k,r,s} dy[n,k,p,q] w[c,k,r,s]     which is conv2d's forward pass of dy: A^T is the convolution
    dw[c,k,r,s]  = sum_{n,h,v} x[n,c,h,v] dy[n,k,p,q]     which is conv2d's grad_weight with x and dy exchanged
    db[k]        = sum_{n,p,q} dy[n,k,p,q]

all over p, q as above, inside y; k counts within the group of c. "Transposed" is A; the name "deconvolution" is
common and wrong, since A is not the inverse of the convolution (Dumoulin and Visin 2016, chapter 4; Zeiler et al. 2010
for the use).

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| adjoint | `conv2d`'s passes, exchanged, by whichever of its algorithms is fastest | all | on the CPU |
| formula | NumPy, one pixel of x at a time: the yardstick | all | any float dtype, if it is named |
| cuda    | the same as adjoint | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ArgumentError, ShapeError
from minicnn.ops.registry import Operation
from minicnn.ops.windows import Pair, check_images, is_whole, pair

Size = int | Pair
CALLED = "conv_transpose2d"


def forward(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """y = A x + b, where A is the transposed matrix of a convolution with w.

    Parameters
    ----------
    x : array (N, C, H, W), float
    w : array (C, K / groups, R, S), same dtype
    b : array (K,), optional
    stride, padding, dilation : int or (vertical, horizontal)
        Those of the convolution: a stride of 2 doubles the image, padding cuts rows and columns off.
    output_padding : int or (vertical, horizontal)
        Rows and columns more, below and on the right; smaller than stride or dilation.
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
    check_arrays(CALLED, x=x, w=w, b=b)
    check_images(x, CALLED)
    options, shape = check_shapes(x.shape, w.shape, stride, padding, output_padding, dilation, groups)
    if b is not None and b.shape != shape[1:2]:
        raise ShapeError(
            "b does not fit w",
            called=CALLED,
            seen=f"b {b.shape}, w {w.shape}, groups {groups}",
            rule="b: (K,) with K = w.shape[1] * groups",
        )
    return OPERATION.run("forward", (x, w, b), options, shape)


def grad_input(
    dy: Array,
    w: Array,
    x_shape: tuple[int, ...],
    *,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """dx: (N, C, H, W), the gradient with respect to x, which had shape `x_shape`."""
    check_arrays(f"{CALLED}.grad_input", dy=dy, w=w)
    x_shape = tuple(x_shape)
    options = check_backward(dy, w.shape, x_shape, stride, padding, output_padding, dilation, groups)
    return OPERATION.run("grad_input", (dy, w), {"x_shape": x_shape, **options}, x_shape)


def grad_weight(
    dy: Array,
    x: Array,
    w_shape: tuple[int, ...],
    *,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """dw: (C, K / groups, R, S), the gradient with respect to w, which had shape `w_shape`."""
    check_arrays(f"{CALLED}.grad_weight", dy=dy, x=x)
    w_shape = tuple(w_shape)
    options = check_backward(dy, w_shape, x.shape, stride, padding, output_padding, dilation, groups)
    return OPERATION.run("grad_weight", (dy, x), {"w_shape": w_shape, **options}, w_shape)


def grad_bias(dy: Array) -> Array:
    """db: (K,), the gradient with respect to b."""
    check_arrays(f"{CALLED}.grad_bias", dy=dy)
    check_images(dy, f"{CALLED}.grad_bias", "dy")
    return OPERATION.run("grad_bias", (dy,), {}, dy.shape[1:2])


def output_size(size: int, kernel: int, stride: int, padding: int, output_padding: int, dilation: int) -> int:
    """Length of y along one axis: (size - 1) stride - 2 padding + dilation (kernel - 1) + 1 + output_padding."""
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + output_padding


def check_shapes(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: Size,
    padding: Size,
    output_padding: Size,
    dilation: Size,
    groups: int,
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Raise unless shapes and options fit; return the options as pairs, and the shape of y."""
    if len(w_shape) != 4 or 0 in w_shape:
        raise ShapeError(
            "w must have 4 axes, none empty", called=CALLED, seen=f"w {w_shape}", rule="w: (C, K / groups, R, S)"
        )
    if not is_whole(groups) or groups < 1:
        raise ArgumentError("groups is not valid", called=CALLED, seen=f"groups={groups!r}", rule="groups >= 1")
    n, c, *sizes = x_shape
    if c != w_shape[0]:
        raise ShapeError(
            "the channels of x and w differ",
            called=CALLED,
            seen=f"x {x_shape}, w {w_shape}",
            rule="C = w.shape[0]",
            hint=f"give {w_shape[0]} channels",
        )
    if c % groups:
        raise ShapeError(
            "groups does not divide the input channels",
            called=CALLED,
            seen=f"w {w_shape}, groups {groups}",
            rule="w.shape[0] % groups == 0",
        )
    strides = pair(stride, "stride", CALLED, least=1)
    cut = pair(padding, "padding", CALLED, least=0)
    more = pair(output_padding, "output_padding", CALLED, least=0)
    steps = pair(dilation, "dilation", CALLED, least=1)
    out = []
    for axis, name in enumerate(("height", "width")):
        if more[axis] >= max(strides[axis], steps[axis]):
            raise ArgumentError(
                "output_padding is not valid",
                called=CALLED,
                seen=f"output_padding={output_padding!r}, stride={stride!r}, dilation={dilation!r}",
                rule="output_padding < stride, or < dilation",
            )
        out.append(output_size(sizes[axis], w_shape[2 + axis], strides[axis], cut[axis], more[axis], steps[axis]))
        if out[axis] < 1:
            raise ShapeError(
                f"the padding leaves nothing of the {name}",
                called=CALLED,
                seen=f"x {x_shape}, w {w_shape}, stride {strides}, padding {cut}: {name} {out[axis]}",
                rule="(size - 1) * stride + dilation * (kernel - 1) + 1 + output_padding > 2 * padding",
                hint="use less padding, a larger kernel or larger images",
            )
    options = {"stride": strides, "padding": cut, "output_padding": more, "dilation": steps, "groups": int(groups)}
    return options, (n, w_shape[1] * int(groups), *out)


def check_backward(
    dy: Array,
    w_shape: tuple[int, ...],
    x_shape: tuple[int, ...],
    stride: Size,
    padding: Size,
    output_padding: Size,
    dilation: Size,
    groups: int,
) -> dict[str, Any]:
    """Raise unless dy has the shape that y has; return the options as pairs."""
    if len(x_shape) != 4 or 0 in x_shape[1:]:
        raise ShapeError(
            "x must have 4 axes, none but N empty", called=CALLED, seen=f"x {x_shape}", rule="x: (N, C, H, W)"
        )
    options, y_shape = check_shapes(x_shape, w_shape, stride, padding, output_padding, dilation, groups)
    if dy.shape != y_shape:
        raise ShapeError("dy does not have the shape of y", called=CALLED, seen=f"dy {dy.shape}, y {y_shape}")
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


OPERATION = Operation(
    name="conv_transpose2d",
    formula=r"y_{n,k,p,q} = b_k + \sum_{c,h,v,r,s} x_{n,c,h,v}\, w_{c,k,r,s}, \quad"
    r" p = h\sigma + r\delta - \pi,\ q = v\sigma + s\delta - \pi",
    inputs=("x", "w", "b"),
    record=record,
    backward=backward,
    passes=("forward", "grad_input", "grad_weight", "grad_bias"),
    algorithms=("adjoint", "formula"),
    cuda=("cuda",),
    package=__name__,
)
