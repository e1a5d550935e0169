"""Convolution on the GPU's tensor cores, factors rounded to TF32 (`tf32.cu`); runs where it is named."""

from __future__ import annotations

from typing import Any

from minicnn.backends import cuda
from minicnn.backends.arrays import Array
from minicnn.backends.cuda_kernels import channels_last
from minicnn.ops.conv2d import tensor_cores
from minicnn.ops.conv2d.cuda_common import Shape, grad_bias, shape_arguments
from minicnn.ops.conv2d.cuda_product import cut, padded
from minicnn.ops.conv2d.cuda_product import supports_aligned as supports

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "supports"]


def forward(x: Array, w: Array, b: Array | None, *, groups: int, **options: Any) -> Array:
    """y: (N, K, P, Q)."""
    return tensor_cores.forward("tf32", padded, x, w, b, options)


def grad_input(dy: Array, w: Array, *, x_shape: Shape, groups: int, **options: Any) -> Array:
    """dx: (N, C, H, W)."""
    return tensor_cores.grad_input("tf32", padded, dy, w, x_shape, options)


def grad_weight(dy: Array, x: Array, *, w_shape: Shape, groups: int, **options: Any) -> Array:
    """dw: (K, C, R, S)."""
    shape = shape_arguments(x.shape, w_shape, options)
    k, c, r, s = w_shape
    gradients, images = padded(channels_last(dy)), padded(channels_last(x))
    many_k, many_c = gradients.shape[-1], images.shape[-1]
    dw = cuda.empty((many_k, r, s, many_c), dy.dtype)
    tensor_cores.split_over_pixels("tf32", dw, gradients, images, (*shape[:3], many_c, many_k, *shape[5:]))
    return cut(dw, (k, r, s, c)).transpose(0, 3, 1, 2)
