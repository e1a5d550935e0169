"""Max pooling as printed, in NumPy: one window position (p, q) at a time. The yardstick of all other algorithms.

Shapes: x and dx (N, C, H, W); y, winner and dy (N, C, P, Q). Padding with minus infinity means that a padded pixel
never wins; so the padded pixels of a window are left out, and what remains are places in the image.
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.windows import Pair, output_size


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    """y[n,c,p,q] = max_{r,s} x[n, c, p*stride + r*dilation - padding, q*stride + s*dilation - padding], and where"""
    n, c, height, width = x.shape
    size = (height, width)
    steps = list(zip(kernel_size, stride, padding, dilation, strict=True))
    out = [output_size(size[a], *steps[a], ceil_mode=ceil_mode) for a in (0, 1)]
    flat = x.reshape(n, c, height * width)
    y = np.empty((n, c, *out), x.dtype)
    winner = np.empty(y.shape, np.int64)
    for p, q in np.ndindex(*out):
        rows, columns = _places(p, height, *steps[0]), _places(q, width, *steps[1])
        pixels = np.add.outer(rows * width, columns).ravel()  # row-major: r, then s
        window = flat[:, :, pixels]
        best = _winner(window)
        y[:, :, p, q] = np.take_along_axis(window, best[..., None], axis=-1)[..., 0]
        winner[:, :, p, q] = pixels[best]
    return y, winner


def grad_input(
    dy: Array,
    winner: Array,
    *,
    x_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> Array:
    """dx[n,c,h,w] = sum of dy[n,c,p,q] over all (p, q) with winner[n,c,p,q] = h*W + w"""
    n, c, height, width = x_shape
    dx = np.zeros((n, c, height * width), dy.dtype)
    image, channel = np.ogrid[:n, :c]
    for p, q in np.ndindex(*dy.shape[2:]):
        dx[image, channel, winner[:, :, p, q]] += dy[:, :, p, q]
    return dx.reshape(x_shape)


def _places(p: int, size: int, kernel: int, stride: int, padding: int, dilation: int) -> Array:
    """Rows (or columns) of the image under window p."""
    places = p * stride - padding + dilation * np.arange(kernel)
    return places[(places >= 0) & (places < size)]


def _winner(window: Array) -> Array:
    """Place of the first maximum along the last axis; where there is NaN, of the last NaN."""
    is_nan = np.isnan(window)
    last_nan = window.shape[-1] - 1 - is_nan[..., ::-1].argmax(axis=-1)
    return np.where(is_nan.any(axis=-1), last_nan, window.argmax(axis=-1))
