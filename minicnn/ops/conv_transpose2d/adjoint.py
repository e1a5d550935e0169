"""Transposed convolution by the passes of `conv2d`, whose roles are exchanged.

Shapes: x (N, C, H, W), w (C, K/G, R, S), y and dy (N, K, P, Q). Read w as C kernels of a convolution of images y with K
channels; stride, padding, dilation and groups are the same::

    y  = conv2d's grad_input of x, for images of y's shape     dx = conv2d's forward of dy
    dw = conv2d's grad_weight, with x in the place of dy and dy in the place of the images

Each pass runs the algorithm of `conv2d` that is the fastest for it, or the one that `minicnn.algorithm(conv2d=...)`
names. The arrays may live on the CPU or on the GPU.

One case needs more: with output_padding >= stride (so dilation > stride) the convolution of P rows has
H + output_padding // stride places, not H. The places too many belong to pixels of x that are not there: x gets so many
rows of zeros below, and dx loses them; columns alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends.arrays import Array, device
from minicnn.ops import conv2d
from minicnn.ops.registry import operation
from minicnn.ops.windows import Pair


def forward(
    x: Array,
    w: Array,
    b: Array | None,
    *,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    """y = conv2d.grad_input(x, w) + b"""
    spans = [(x.shape[2 + a] - 1) * stride[a] + dilation[a] * (w.shape[2 + a] - 1) + 1 for a in (0, 1)]
    size = [spans[a] + output_padding[a] - 2 * padding[a] for a in (0, 1)]
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y = conv2d.grad_input(_longer(x, stride, output_padding), w, (x.shape[0], w.shape[1] * groups, *size), **options)
    return y if b is None else _plus(y, b)


def grad_input(dy: Array, w: Array, *, x_shape: tuple[int, ...], output_padding: Pair, **options: Any) -> Array:
    """dx = conv2d.forward(dy, w)"""
    dx = conv2d.forward(dy, w, **options)
    return dx if dx.shape == x_shape else dx[:, :, : x_shape[2], : x_shape[3]]


def grad_weight(
    dy: Array, x: Array, *, w_shape: tuple[int, ...], stride: Pair, output_padding: Pair, **options: Any
) -> Array:
    """dw = conv2d.grad_weight(dy=x, x=dy)"""
    return conv2d.grad_weight(_longer(x, stride, output_padding), dy, w_shape, stride=stride, **options)


def grad_bias(dy: Array) -> Array:
    """db = conv2d.grad_bias(dy)"""
    return conv2d.grad_bias(dy)


def _longer(x: Array, stride: Pair, output_padding: Pair) -> Array:
    """x with the rows and columns of zeros that output_padding >= stride needs; x itself otherwise."""
    more = [output_padding[a] // stride[a] for a in (0, 1)]
    if not any(more):
        return x
    shape = (*x.shape[:2], x.shape[2] + more[0], x.shape[3] + more[1])
    if device(x) == "cpu":
        longer = np.zeros(shape, x.dtype)
        longer[:, :, : x.shape[2], : x.shape[3]] = x
        return longer
    from minicnn.backends import cuda, cuda_kernels

    longer = cuda.empty_images(shape, x.dtype)
    longer.transpose(0, 2, 3, 1).fill(0)
    cuda_kernels.copy_into(longer[:, :, : x.shape[2], : x.shape[3]], x)
    return longer


def _plus(y: Array, b: Array) -> Array:
    """y + b for each channel; on the CPU in place, in the memory layout that the convolution chose."""
    if device(y) == "cpu":
        y += b[:, None, None]
        return y
    return operation("add").run("forward", (y, b.reshape(1, -1, 1, 1)), {}, y.shape)
