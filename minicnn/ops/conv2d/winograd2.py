"""Winograd's convolution F(2x2, 3x3): see `winograd.py`."""

from __future__ import annotations

from minicnn.ops.conv2d.loops import grad_bias
from minicnn.ops.conv2d.winograd import passes, supports

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight", "supports"]

_passes = passes(2)
forward, grad_input, grad_weight = _passes.forward, _passes.grad_input, _passes.grad_weight
