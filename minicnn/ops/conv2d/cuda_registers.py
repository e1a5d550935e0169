"""Convolution on the GPU as a matrix product with 8 x 8 numbers a thread in registers (`registers.cu`)."""

from __future__ import annotations

from minicnn.ops.conv2d.cuda_common import grad_bias, supports
from minicnn.ops.conv2d.cuda_product import Rung, Tile

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "supports"]

RUNG = Rung("registers", (Tile(128, 64, 128),))
forward, grad_input, grad_weight = RUNG.forward, RUNG.grad_input, RUNG.grad_weight
