"""Convolution on the GPU's tensor cores, factors rounded to bf16 (`bf16.cu`); runs where it is named.

It has no grad_weight: that pass runs as without naming.
"""

from __future__ import annotations

import math
from typing import Any

from minicnn.backends import cuda
from minicnn.backends.arrays import Array
from minicnn.backends.cuda_kernels import channels_last
from minicnn.ops.conv2d.cuda_common import Shape, grad_bias, largest_residue, shape_arguments, y_shape
from minicnn.ops.conv2d.cuda_product import supports_aligned as supports
from minicnn.ops.conv2d.tensor_cores import bf16_words, launch, turned

__all__ = ["forward", "grad_bias", "grad_input", "supports"]


def forward(x: Array, w: Array, b: Array | None, *, groups: int, **options: Any) -> Array:
    """y: (N, K, P, Q)."""
    shape = shape_arguments(x.shape, w.shape, options)
    n, k, p, q = y_shape(shape)
    y = cuda.empty_images((n, k, p, q), x.dtype)
    images, kernels = bf16_words(channels_last(x)), bf16_words(channels_last(w))
    shape = (*shape[:3], images.shape[-1], *shape[4:])
    launch("bf16", "forward", (n * p * q, k, 1), channels_last(y), images, kernels, b, shape)
    return y


def grad_input(dy: Array, w: Array, *, x_shape: Shape, groups: int, **options: Any) -> Array:
    """dx: (N, C, H, W)."""
    shape = shape_arguments(x_shape, w.shape, options)
    dx = cuda.empty_images(x_shape, dy.dtype)
    images, kernels = bf16_words(channels_last(dy)), bf16_words(turned(w))
    shape = (*shape[:4], images.shape[-1], *shape[5:])
    size = x_shape[0] * largest_residue(x_shape, options), x_shape[1], math.prod(options["stride"])
    launch("bf16", "grad_input", size, channels_last(dx), images, kernels, None, shape)
    return dx
