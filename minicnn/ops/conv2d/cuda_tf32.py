"""Convolution on the GPU's tensor cores, factors rounded to TF32 (`tf32.cu`); runs where it is named."""

from __future__ import annotations

import math
from typing import Any

from minicnn.backends import cuda
from minicnn.backends.arrays import Array
from minicnn.backends.cuda_kernels import channels_last, copy
from minicnn.ops.conv2d.cuda_common import Shape, grad_bias, largest_residue, shape_arguments, y_shape
from minicnn.ops.conv2d.cuda_product import supports_aligned as supports
from minicnn.ops.conv2d.tensor_cores import launch, padded, split_over_pixels, turned

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "supports"]


def forward(x: Array, w: Array, b: Array | None, *, groups: int, **options: Any) -> Array:
    """y: (N, K, P, Q)."""
    shape = shape_arguments(x.shape, w.shape, options)
    n, k, p, q = y_shape(shape)
    y = cuda.empty_images((n, k, p, q), x.dtype)
    images, kernels = padded(channels_last(x)), padded(channels_last(w))
    shape = (*shape[:3], images.shape[-1], *shape[4:])
    launch("tf32", "forward", (n * p * q, k, 1), channels_last(y), images, kernels, b, shape)
    return y


def grad_input(dy: Array, w: Array, *, x_shape: Shape, groups: int, **options: Any) -> Array:
    """dx: (N, C, H, W)."""
    shape = shape_arguments(x_shape, w.shape, options)
    dx = cuda.empty_images(x_shape, dy.dtype)
    images, kernels = padded(channels_last(dy)), turned(w)
    shape = (*shape[:4], images.shape[-1], *shape[5:])
    size = x_shape[0] * largest_residue(x_shape, options), x_shape[1], math.prod(options["stride"])
    launch("tf32", "grad_input", size, channels_last(dx), images, kernels, None, shape)
    return dx


def grad_weight(dy: Array, x: Array, *, w_shape: Shape, groups: int, **options: Any) -> Array:
    """dw: (K, C, R, S)."""
    shape = shape_arguments(x.shape, w_shape, options)
    k, c, r, s = w_shape
    gradients, images = padded(channels_last(dy)), padded(channels_last(x))
    many_k, many_c = gradients.shape[-1], images.shape[-1]
    dw = cuda.empty_images((many_k, many_c, r, s), dy.dtype)
    split_over_pixels("tf32", channels_last(dw), gradients, images, (*shape[:3], many_c, many_k, *shape[5:]))
    if (many_k, many_c) == (k, c):
        return dw
    return copy(dw[:k, :c].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
