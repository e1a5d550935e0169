"""Convolution as printed, in NumPy: one window position (p, q) at a time. The yardstick of all other algorithms.

Shapes: x (N, C, H, W), w (K, C/G, R, S), b (K,), y and dy (N, K, P, Q); padded x is called xp. In the sums below the
axes are n, g (group), c (channel in the group), k (output channel in the group), r, s (place in the kernel).
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.windows import Pair, output_size, pad


def forward(x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Array:
    """y[n,k,p,q] = b[k] + sum_{c,r,s} xp[n, c, p*stride + r*dilation, q*stride + s*dilation] w[k,c,r,s]"""
    n, k = x.shape[0], w.shape[0]
    kernel = w.shape[2:]
    out = [output_size(x.shape[2 + a], kernel[a], stride[a], padding[a], dilation[a]) for a in (0, 1)]
    xp = pad(x, padding)
    wg = w.reshape(groups, k // groups, *w.shape[1:])
    y = np.empty((n, k, *out), x.dtype)
    for p, q in np.ndindex(*out):
        window = _split(xp[:, :, *_window(p, q, kernel, stride, dilation)], groups)
        y[:, :, p, q] = np.einsum("ngcrs,gkcrs->ngk", window, wg).reshape(n, k)
    return y if b is None else y + b[:, None, None]


def grad_input(
    dy: Array, w: Array, *, x_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """Each dy[n,k,p,q] goes back to the window that made it: dxp[window] += sum_k dy[n,k,p,q] w[k,c,r,s]"""
    n, c, height, width = x_shape
    kernel = w.shape[2:]
    wg = w.reshape(groups, -1, *w.shape[1:])
    dxp = np.zeros((n, c, height + 2 * padding[0], width + 2 * padding[1]), dy.dtype)
    for p, q in np.ndindex(*dy.shape[2:]):
        window = np.einsum("ngk,gkcrs->ngcrs", _split(dy[:, :, p, q], groups), wg)
        dxp[:, :, *_window(p, q, kernel, stride, dilation)] += window.reshape(n, c, *kernel)
    return dxp[:, :, padding[0] : padding[0] + height, padding[1] : padding[1] + width]


def grad_weight(
    dy: Array, x: Array, *, w_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """dw[k,c,r,s] = sum_{n,p,q} dy[n,k,p,q] xp[n, c, p*stride + r*dilation, q*stride + s*dilation]"""
    xp = pad(x, padding)
    dw = np.zeros(w_shape, dy.dtype)
    for p, q in np.ndindex(*dy.shape[2:]):
        window = _split(xp[:, :, *_window(p, q, w_shape[2:], stride, dilation)], groups)
        dw += np.einsum("ngk,ngcrs->gkcrs", _split(dy[:, :, p, q], groups), window).reshape(w_shape)
    return dw


def grad_bias(dy: Array) -> Array:
    """db[k] = sum_{n,p,q} dy[n,k,p,q]"""
    return dy.sum(axis=(0, 2, 3))


def _split(a: Array, groups: int) -> Array:
    """(N, C, ...) -> (N, G, C/G, ...)"""
    return a.reshape(a.shape[0], groups, a.shape[1] // groups, *a.shape[2:])


def _window(p: int, q: int, kernel: tuple[int, ...], stride: Pair, dilation: Pair) -> tuple[slice, slice]:
    """Rows and columns of the padded image under the kernel at output position (p, q)."""
    at = (p * stride[0], q * stride[1])
    rows, columns = (slice(at[a], at[a] + dilation[a] * (kernel[a] - 1) + 1, dilation[a]) for a in (0, 1))
    return rows, columns
