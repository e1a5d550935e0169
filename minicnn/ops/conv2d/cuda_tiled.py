"""Convolution on the GPU as a matrix product in tiles of shared memory (`tiled.cu`)."""

from __future__ import annotations

from minicnn.ops.conv2d.cuda_common import grad_bias, supports
from minicnn.ops.conv2d.cuda_product import Rung, Tile

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "supports"]

RUNG = Rung("tiled", (Tile(16, 16, 256, (("TILE", 16),)),))
forward, grad_input, grad_weight = RUNG.forward, RUNG.grad_input, RUNG.grad_weight
