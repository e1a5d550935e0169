"""Transposed convolution on the GPU: the passes of `conv2d`, exchanged (`adjoint.py`), by its CUDA kernels."""

from minicnn.ops.conv_transpose2d.adjoint import forward, grad_bias, grad_input, grad_weight

__all__ = ["forward", "grad_bias", "grad_input", "grad_weight"]
