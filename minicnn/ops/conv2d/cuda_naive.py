"""Convolution on the GPU as its formula says (`naive.cu`): one thread a number of the result, all options."""

from __future__ import annotations

from typing import Any

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.conv2d.cuda_common import HERE, Shape, grad_bias, shape_arguments, y_shape

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight"]


def _naive(pass_name: str, x_like: Array) -> cuda_kernels.Kernel:
    return cuda_kernels.kernel(HERE / "naive.cu", f"naive_{pass_name}", REAL=cuda_kernels.real(x_like))


def forward(x: Array, w: Array, b: Array | None, **options: Any) -> Array:
    """y: (N, K, P, Q)."""
    shape = shape_arguments(x.shape, w.shape, options)
    y = cuda.empty_images(y_shape(shape), x.dtype)
    images, kernels = cuda_kernels.channels_last(x), cuda_kernels.channels_last(w)
    arrays = cuda_kernels.channels_last(y), images, kernels, b
    _naive("forward", x).over(y.size, *arrays, options["groups"], *shape)
    return y


def grad_input(dy: Array, w: Array, *, x_shape: Shape, **options: Any) -> Array:
    """dx: (N, C, H, W)."""
    shape = shape_arguments(x_shape, w.shape, options)
    dx = cuda.empty_images(x_shape, dy.dtype)
    arrays = (cuda_kernels.channels_last(a) for a in (dx, dy, w))
    _naive("grad_input", dy).over(dx.size, *arrays, options["groups"], *shape)
    return dx


def grad_weight(dy: Array, x: Array, *, w_shape: Shape, **options: Any) -> Array:
    """dw: (K, C / groups, R, S)."""
    shape = shape_arguments(x.shape, w_shape, options)
    dw = cuda.empty_images(w_shape, dy.dtype)
    arrays = (cuda_kernels.channels_last(a) for a in (dw, dy, x))
    _naive("grad_weight", dy).over(dw.size, *arrays, options["groups"], *shape)
    return dw
