"""Convolution on the GPU's tensor cores, factors rounded to bf16 (`bf16.cu`); runs where it is named.

It has no grad_weight: that pass runs as without naming.
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array
from minicnn.ops.conv2d import tensor_cores
from minicnn.ops.conv2d.cuda_common import Shape, grad_bias
from minicnn.ops.conv2d.cuda_product import supports_aligned as supports
from minicnn.ops.conv2d.tensor_cores import bf16_words

__all__ = ["forward", "grad_bias", "grad_input", "supports"]


def forward(x: Array, w: Array, b: Array | None, *, groups: int, **options: Any) -> Array:
    """y: (N, K, P, Q)."""
    return tensor_cores.forward("bf16", bf16_words, x, w, b, options)


def grad_input(dy: Array, w: Array, *, x_shape: Shape, groups: int, **options: Any) -> Array:
    """dx: (N, C, H, W)."""
    return tensor_cores.grad_input("bf16", bf16_words, dy, w, x_shape, options)
