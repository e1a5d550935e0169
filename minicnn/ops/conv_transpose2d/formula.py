"""Transposed convolution as printed, in NumPy: one pixel (h, v) of x at a time. The yardstick of all other algorithms.

Shapes: x (N, C, H, W), w (C, K/G, R, S), b (K,), y and dy (N, K, P, Q). yp and dyp are y and dy with `padding` rows and
columns on each side: there all copies of the kernel fit. In the sums below the axes are n, g (group), c (channel in the
group), k (output channel in the group), r, s (place in the kernel).
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.windows import Pair, pad


def forward(
    x: Array,
    w: Array,
    b: Array | None,
    *,
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    """Each x[n,c,h,v] lays w[c] onto y: yp[n, k, h*stride + r*dilation, ...] += x[n,c,h,v] w[c,k,r,s]"""
    n, k = x.shape[0], w.shape[1] * groups
    kernel, wg = w.shape[2:], _kernels(w, groups)
    spans = [(x.shape[2 + a] - 1) * stride[a] + dilation[a] * (kernel[a] - 1) + 1 for a in (0, 1)]
    yp = np.zeros((n, k, spans[0] + output_padding[0], spans[1] + output_padding[1]), x.dtype)
    for h, v in np.ndindex(*x.shape[2:]):
        laid = np.einsum("ngc,gckrs->ngkrs", _split(x[:, :, h, v], groups), wg)
        yp[:, :, *_window(h, v, kernel, stride, dilation)] += laid.reshape(n, k, *kernel)
    y = yp[:, :, padding[0] : yp.shape[2] - padding[0], padding[1] : yp.shape[3] - padding[1]]
    return y if b is None else y + b[:, None, None]


def grad_input(
    dy: Array,
    w: Array,
    *,
    x_shape: tuple[int, ...],
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    """dx[n,c,h,v] = sum_{k,r,s} dyp[n, k, h*stride + r*dilation, v*stride + s*dilation] w[c,k,r,s]"""
    dyp, wg = pad(dy, padding), _kernels(w, groups)
    dx = np.empty(x_shape, dy.dtype)
    for h, v in np.ndindex(*x_shape[2:]):
        window = _split(dyp[:, :, *_window(h, v, w.shape[2:], stride, dilation)], groups)
        dx[:, :, h, v] = np.einsum("ngkrs,gckrs->ngc", window, wg).reshape(x_shape[:2])
    return dx


def grad_weight(
    dy: Array,
    x: Array,
    *,
    w_shape: tuple[int, ...],
    stride: Pair,
    padding: Pair,
    output_padding: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    """dw[c,k,r,s] = sum_{n,h,v} x[n,c,h,v] dyp[n, k, h*stride + r*dilation, v*stride + s*dilation]"""
    dyp = pad(dy, padding)
    dw = np.zeros(w_shape, dy.dtype)
    for h, v in np.ndindex(*x.shape[2:]):
        window = _split(dyp[:, :, *_window(h, v, w_shape[2:], stride, dilation)], groups)
        dw += np.einsum("ngc,ngkrs->gckrs", _split(x[:, :, h, v], groups), window).reshape(w_shape)
    return dw


def grad_bias(dy: Array) -> Array:
    """db[k] = sum_{n,p,q} dy[n,k,p,q]"""
    return dy.sum(axis=(0, 2, 3))


def _kernels(w: Array, groups: int) -> Array:
    """(C, K/G, R, S) -> (G, C/G, K/G, R, S)"""
    return w.reshape(groups, w.shape[0] // groups, *w.shape[1:])


def _split(a: Array, groups: int) -> Array:
    """(N, C, ...) -> (N, G, C/G, ...)"""
    return a.reshape(a.shape[0], groups, a.shape[1] // groups, *a.shape[2:])


def _window(h: int, v: int, kernel: tuple[int, ...], stride: Pair, dilation: Pair) -> tuple[slice, slice]:
    """Rows and columns of yp onto which pixel (h, v) of x lays its kernel."""
    at = (h * stride[0], v * stride[1])
    rows, columns = (slice(at[a], at[a] + dilation[a] * (kernel[a] - 1) + 1, dilation[a]) for a in (0, 1))
    return rows, columns
