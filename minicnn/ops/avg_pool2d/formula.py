"""Average pooling as printed, in NumPy: one window position (p, q) at a time. The yardstick of all other algorithms.

Shapes: x and dx (N, C, H, W), y and dy (N, C, P, Q). The divisor A[p,q] is the number of pixels in the slice that the
window cuts out: of the padded image xp if padding counts, otherwise of the image.
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.windows import Pair, output_size, pad


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool
) -> Array:
    """y[n,c,p,q] = 1/A[p,q] sum_{r,s} xp[n, c, p*stride + r, q*stride + s]"""
    out = [output_size(x.shape[2 + a], kernel_size[a], stride[a], padding[a], 1, ceil_mode=ceil_mode) for a in (0, 1)]
    image, before = (pad(x, padding), (0, 0)) if count_include_pad else (x, padding)
    y = np.empty((*x.shape[:2], *out), x.dtype)
    for p, q in np.ndindex(*out):
        y[:, :, p, q] = image[:, :, *_window(p, q, kernel_size, stride, before)].mean(axis=(2, 3))
    return y


def grad_input(
    dy: Array,
    *,
    x_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
) -> Array:
    """Each dy[n,c,p,q] goes back to the window that made it: dxp[window] += dy[n,c,p,q] / A[p,q]"""
    n, c, height, width = x_shape
    border, before = (padding, (0, 0)) if count_include_pad else ((0, 0), padding)
    dxp = np.zeros((n, c, height + 2 * border[0], width + 2 * border[1]), dy.dtype)
    for p, q in np.ndindex(*dy.shape[2:]):
        window = dxp[:, :, *_window(p, q, kernel_size, stride, before)]
        window += dy[:, :, p, q, None, None] / (window.shape[2] * window.shape[3])
    return dxp[:, :, border[0] : border[0] + height, border[1] : border[1] + width]


def _window(p: int, q: int, kernel: Pair, stride: Pair, before: Pair) -> tuple[slice, slice]:
    """Rows and columns of window (p, q) in an image that lacks `before` of its padding. Slices end at the edge."""
    starts = (p * stride[0] - before[0], q * stride[1] - before[1])
    rows, columns = (slice(max(0, starts[a]), starts[a] + kernel[a]) for a in (0, 1))
    return rows, columns
