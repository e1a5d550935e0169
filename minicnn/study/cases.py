"""How each operation is called to be measured: usual shapes, its arrays, the call, what it costs.

A call is written once: it runs in minicnn and, since the names are the same, in PyTorch (`m` is either module). Shapes
are those of ResNet-18 at batch 8, or of a usual layer.

Operations are counted as the forward formula has them: a multiply-add is two; exponential, logarithm and division
count as one. The gradients of layers with weights cost what their forward pass does; those of all others are
counted alike, since memory limits them and not arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.autograd import apply
from minicnn.ops import conv2d, conv_transpose2d
from minicnn.ops.pooling import check_windows
from minicnn.study.case import Arrays, Case, Request, Shape

EPS = 1e-5
P = 0.5  # of dropout


def each(count: int) -> Callable[[Request], float]:
    """`count` operations for each number of x."""
    return lambda r: float(count * math.prod(r.shape))


# ---- layers with weights ---------------------------------------------------------------------------------------------


def _weights(r: Request, w_shape: Shape, outputs: int) -> list[Shape]:
    """x and w, and b where its gradient is asked for: most convolutions have none, batch normalisation follows."""
    return [r.shape, w_shape, *([(outputs,)] if r.pass_name == "grad_bias" else [])]


def _conv_w(r: Request) -> Shape:
    return (r.kernel[0], r.shape[1], *r.kernel[1:])


def _transposed_w(r: Request) -> Shape:
    return (r.shape[1], *r.kernel)


def _conv_y(r: Request) -> Shape:
    return conv2d.check_shapes(r.shape, _conv_w(r), r.stride, r.padding, 1, 1)[1]


def _transposed_y(r: Request) -> Shape:
    return conv_transpose2d.check_shapes(r.shape, _transposed_w(r), r.stride, r.padding, 0, 1, 1)[1]


def _scaled(r: Request, arrays: Arrays) -> Arrays:
    """Weights small enough that the results are as large as x."""
    arrays[1] /= math.sqrt(math.prod(r.kernel[1:]) * r.shape[1])
    return arrays


CONV2D = Case(
    lambda m, r, *xwb: m.nn.functional.conv2d(*xwb, stride=r.stride, padding=r.padding),
    (8, 64, 56, 56),
    lambda r: 2.0 * math.prod(_conv_y(r)) * r.shape[1] * math.prod(r.kernel[1:]),
    lambda r: _weights(r, _conv_w(r), r.kernel[0]),
    kernel=(64, 3, 3),
    kernel_form="KxRxS",
    stride=1,
    padding=1,
    change=_scaled,
    result=_conv_y,
    in_flops=True,
)
CONV_TRANSPOSE2D = Case(
    lambda m, r, *xwb: m.nn.functional.conv_transpose2d(*xwb, stride=r.stride, padding=r.padding),
    (8, 64, 28, 28),
    lambda r: 2.0 * math.prod(r.shape) * math.prod(r.kernel),
    lambda r: _weights(r, _transposed_w(r), r.kernel[0]),
    kernel=(32, 4, 4),
    kernel_form="KxRxS",
    stride=2,
    padding=1,
    change=_scaled,
    result=_transposed_y,
    in_flops=True,
)
LINEAR = Case(
    lambda m, r, x, w, b: m.nn.functional.linear(x, w, b),
    (256, 512),
    lambda r: 2.0 * math.prod(r.shape) * r.kernel[0],
    lambda r: [r.shape, (r.kernel[0], r.shape[1]), r.kernel],
    form="NxI",
    kernel=(1000,),
    kernel_form="J",
    result=lambda r: (r.shape[0], r.kernel[0]),
    in_flops=True,
)
MATMUL = Case(
    lambda m, r, a, b: a @ b,
    (512, 512),
    lambda r: 2.0 * math.prod(r.shape) * r.kernel[0],
    lambda r: [r.shape, (r.shape[1], r.kernel[0])],
    form="NxK",
    kernel=(512,),
    kernel_form="J",
    result=lambda r: (r.shape[0], r.kernel[0]),
    in_flops=True,
)


# ---- through time ----------------------------------------------------------------------------------------------------


def _recurrent(name: str, gates: int, states: int, torch: Callable[..., Any]) -> Case:
    """A layer of H states on sequences of T steps, batches of N, I inputs a step; w_ih, w_hh, b_ih, b_hh."""

    def inputs(r: Request) -> list[Shape]:
        (_, n, i), (h,) = r.shape, r.kernel
        return [r.shape, *[(n, h)] * states, (gates * h, i), (gates * h, h), (gates * h,), (gates * h,)]

    def flops(r: Request) -> float:
        (t, n, i), (h,) = r.shape, r.kernel
        return 2.0 * t * n * gates * h * (h + i if r.pass_name == "forward" else h)

    def scaled(r: Request, arrays: Arrays) -> Arrays:
        return [*arrays[: 1 + states], *(a / math.sqrt(r.kernel[0]) for a in arrays[1 + states :])]

    def in_torch(t: Any, r: Request, x: Any, *rest: Any) -> Any:
        h, weights = [state[None] for state in rest[:states]], rest[states:]
        return torch(t)(x, h if states > 1 else h[0], weights, True, 1, 0.0, r.pass_name != "forward", False, False)[0]

    def call(m: Any, r: Request, *tensors: Any) -> Any:
        return apply(name, *tensors)

    form: dict[str, Any] = {"form": "TxNxI", "kernel": (256,), "kernel_form": "H", "in_flops": True}
    return Case(call, (32, 16, 128), flops, inputs, change=scaled, torch=in_torch, **form)


# ---- windows, normalisation ------------------------------------------------------------------------------------------


def _pool(name: str, shape: Shape, window: int, stride: int, padding: int) -> Case:
    def result(r: Request) -> Shape:
        return check_windows(r.shape, (r.kernel[0], r.kernel[1]), r.stride, r.padding, 1, False, name)[1]

    return Case(
        lambda m, r, x: getattr(m.nn.functional, name)(x, r.kernel, r.stride, r.padding),
        shape,
        lambda r: float(math.prod(result(r)) * math.prod(r.kernel)),
        kernel=(window, window),
        kernel_form="RxS",
        stride=stride,
        padding=padding,
        result=result,
    )


def _positive_variance(r: Request, arrays: Arrays) -> Arrays:
    return [*arrays[:-1], np.abs(arrays[-1]) + arrays[-1].dtype.type(0.5)]


def _channels(r: Request) -> list[Shape]:
    """x, weight, bias, (a residual,) mean, var."""
    c = r.shape[1:2]
    return [r.shape, c, c, *([r.shape] if r.operation == "batch_norm_relu" else []), c, c]


def _batch_norm(m: Any, r: Request, x: Any, w: Any, b: Any, mean: Any, var: Any) -> Any:
    """By given statistics forward, by the batch's own on the way back: what evaluation and training need."""
    training = r.pass_name != "forward"
    running = (None, None) if training else (mean, var)
    return m.nn.functional.batch_norm(x, *running, w, b, training, 0.0, EPS)


def _statistics_or_norm(t: Any, r: Request, x: Any, *rest: Any) -> Any:
    if r.pass_name == "statistics":
        return t.var_mean(x, (0, *range(2, x.ndim)), correction=0)[::-1]
    return _batch_norm(t, r, x, *rest)


def _batch_norm_relu(m: Any, r: Request, x: Any, w: Any, b: Any, residual: Any, mean: Any, var: Any) -> Any:
    training = r.pass_name != "forward"
    running = (None, None) if training else (mean, var)
    return m.nn.functional.batch_norm_relu(x, *running, w, b, training, 0.0, EPS, residual)


def _three_calls(t: Any, r: Request, x: Any, w: Any, b: Any, residual: Any, mean: Any, var: Any) -> Any:
    return t.relu(_batch_norm(t, r, x, w, b, mean, var) + residual)


# ---- losses and the rest ---------------------------------------------------------------------------------------------


def _labels(r: Request, arrays: Arrays) -> Arrays:
    """Classes, or for the gradient of the target probabilities."""
    x, target = arrays
    if r.pass_name == "grad_target":
        e = np.exp(target)
        return [x, e / e.sum(axis=1, keepdims=True)]
    return [x, np.abs(target[:, 0] * 1e4).astype(np.int64) % r.shape[1]]


def _kept(r: Request, arrays: Arrays) -> Arrays:
    return [arrays[0], arrays[1] > 0]  # normally distributed: half of them


def _positive(r: Request, arrays: Arrays) -> Arrays:
    return [np.abs(arrays[0]) + arrays[0].dtype.type(0.5)]


def _divisor(r: Request, arrays: Arrays) -> Arrays:
    return [arrays[0], np.abs(arrays[1]) + arrays[1].dtype.type(0.5)]


def _rows(r: Request, arrays: Arrays) -> Arrays:
    """x, and numbers of its rows, some of them twice."""
    return [arrays[0], np.abs(arrays[1] * 1e4).astype(np.int64) % r.shape[0]]


def _dims(r: Request) -> Shape:
    """Axes to reduce: all but the batch's and the channels', or the last."""
    return tuple(range(2, len(r.shape))) or (len(r.shape) - 1,)


IMAGES = (8, 64, 56, 56)
LAST = "along the last axis"
REDUCED = "over all axes but the first two"


def _binary(call: Callable[..., Any], change: Callable[[Request, Arrays], Arrays] = lambda r, a: a) -> Case:
    return Case(call, IMAGES, each(1), lambda r: [r.shape] * 2, "", change=change)


def _unary(call: Callable[..., Any], count: int = 1, shape: Shape = IMAGES, form: str = "", **more: Any) -> Case:
    return Case(call, shape, each(count), form=form, **more)


CASES: dict[str, Case] = {
    "conv2d": CONV2D,
    "conv_transpose2d": CONV_TRANSPOSE2D,
    "linear": LINEAR,
    "matmul": MATMUL,
    "rnn": _recurrent("rnn", 1, 1, lambda t: t.rnn_tanh),
    "lstm": _recurrent("lstm", 4, 2, lambda t: t.lstm),
    "gru": _recurrent("gru", 3, 1, lambda t: t.gru),
    "max_pool2d": _pool("max_pool2d", (8, 64, 112, 112), 3, 2, 1),
    "avg_pool2d": _pool("avg_pool2d", IMAGES, 2, 2, 0),
    "adaptive_avg_pool2d": Case(
        lambda m, r, x: m.nn.functional.adaptive_avg_pool2d(x, r.kernel),
        (8, 512, 7, 7),
        each(1),
        kernel=(1, 1),
        kernel_form="PxQ",
        result=lambda r: (*r.shape[:2], *r.kernel),
    ),
    "batch_norm": Case(_batch_norm, IMAGES, each(2), _channels, change=_positive_variance, torch=_statistics_or_norm),
    "batch_norm_relu": Case(
        _batch_norm_relu,
        IMAGES,
        each(4),
        _channels,
        change=_positive_variance,
        torch=_three_calls,
    ),
    "relu": _unary(lambda m, r, x: m.nn.functional.relu(x)),
    "sigmoid": _unary(lambda m, r, x: m.nn.functional.sigmoid(x), 3),
    "tanh": _unary(lambda m, r, x: m.nn.functional.tanh(x)),
    "exp": _unary(lambda m, r, x: x.exp()),
    "log": _unary(lambda m, r, x: x.log(), change=_positive),
    "pow": _unary(lambda m, r, x: x**2.5, change=_positive, words="exponent 2.5"),
    "add": _binary(lambda m, r, a, b: a + b),
    "sub": _binary(lambda m, r, a, b: a - b),
    "mul": _binary(lambda m, r, a, b: a * b),
    "div": _binary(lambda m, r, a, b: a / b, _divisor),
    "dropout": Case(
        lambda m, r, x, mask: apply("dropout", x, mask=mask.array, p=P),
        (256, 4096),
        each(2),
        lambda r: [r.shape] * 2,
        "",
        change=_kept,
        torch=lambda t, r, x, mask: t.ops.aten.native_dropout_backward(x, mask, 1 / (1 - P)),  # y = x mask / (1 - p)
        names=("x", "mask"),
        words=f"p {P}",
    ),
    "softmax": _unary(lambda m, r, x: m.nn.functional.softmax(x, -1), 3, (256, 1000), words=LAST),
    "log_softmax": _unary(lambda m, r, x: m.nn.functional.log_softmax(x, -1), 3, (256, 1000), words=LAST),
    "cross_entropy": Case(
        lambda m, r, x, target: m.nn.functional.cross_entropy(x, target),
        (256, 1000),
        each(3),
        lambda r: [r.shape] * 2,
        "NxC",
        change=_labels,
    ),
    "mse": Case(
        lambda m, r, x, target: m.nn.functional.mse_loss(x, target),
        (8, 3, 224, 224),
        each(3),
        lambda r: [r.shape] * 2,
        "",
    ),
    "sum": _unary(lambda m, r, x: x.sum(_dims(r)), words=REDUCED),
    "mean": _unary(lambda m, r, x: x.mean(_dims(r)), words=REDUCED),
    "max": _unary(lambda m, r, x: x.max(_dims(r)), torch=lambda t, r, x: x.amax(_dims(r)), words=REDUCED),
    "reshape": _unary(lambda m, r, x: x.reshape(r.shape[0], -1), 0, (8, 512, 7, 7)),
    "flatten": _unary(lambda m, r, x: x.flatten(), 0, (8, 512, 7, 7)),
    "transpose": _unary(lambda m, r, x: x.permute(*range(len(r.shape))[::-1]), 0),
    "index": Case(
        lambda m, r, x, rows: x[rows],
        (10000, 256),
        each(0),
        lambda r: [r.shape, (8192,)],
        "VxD",
        change=_rows,
        names=("x", "rows"),
    ),
    "concatenate": Case(
        lambda m, r, *xs: m.cat(xs, 1),
        IMAGES,
        each(0),
        lambda r: [r.shape] * 2,
        names=("x0", "x1"),
        words="along axis 1",
    ),
}
