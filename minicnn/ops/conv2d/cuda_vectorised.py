"""Convolution on the GPU: tiles fetched 16 bytes at a time while others are multiplied (`vectorised.cu`); float32."""

from __future__ import annotations

from minicnn.ops.conv2d.cuda_common import grad_bias
from minicnn.ops.conv2d.cuda_product import Rung, Tile
from minicnn.ops.conv2d.cuda_product import supports_aligned as supports

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "supports"]

RUNG = Rung("vectorised", (Tile(128, 128, 256),), aligned=True)
forward, grad_input, grad_weight = RUNG.forward, RUNG.grad_input, RUNG.grad_weight
