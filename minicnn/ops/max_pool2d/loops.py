"""Max pooling as compiled loops.

Shapes: x and dx (N, C, H, W); y, winner and dy (N, C, P, Q); all contiguous. A window has R x S pixels.

Nothing is padded and no padded copy is made: a place of the window outside the image is passed over, and so never wins.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.registry import Problem
from minicnn.ops.windows import Pair, output_size


def supports(problem: Problem) -> str:
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    return "" if problem.dtype in (np.float32, np.float64) else "dtype must be float32 or float64"


def forward(
    x: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    """y[n,c,p,q] = max_{r,s} x[n, c, p*stride + r*dilation - padding, q*stride + s*dilation - padding], and where"""
    steps = list(zip(kernel_size, stride, padding, dilation, strict=True))
    out = [output_size(x.shape[2 + a], *steps[a], ceil_mode=ceil_mode) for a in (0, 1)]
    y = np.empty((*x.shape[:2], *out), x.dtype)
    winner = np.empty(y.shape, np.int64)
    _forward(np.ascontiguousarray(x), y, winner, *kernel_size, *stride, *padding, *dilation)
    return y, winner


@kernel
def _forward(x, y, winner, R, S, sh, sw, ph, pw, dh, dw):
    # parallel over (n, c); inside: p, q, then r, s (place in the window)
    N, C, H, W = x.shape
    P, Q = y.shape[2], y.shape[3]
    for nc in prange(N * C):
        n, c = nc // C, nc % C
        for p in range(P):
            top = p * sh - ph
            for q in range(Q):
                left = q * sw - pw
                # before any comparison: minus infinity, at the first place of the window that is inside the image
                best = x.dtype.type(-np.inf)
                where = (top if top >= 0 else top % dh) * W + (left if left >= 0 else left % dw)
                for r in range(R):
                    h = top + r * dh
                    if 0 <= h < H:
                        for s in range(S):
                            v = left + s * dw
                            if 0 <= v < W:
                                value = x[n, c, h, v]
                                if value > best or value != value:  # larger or NaN: the first maximum, the last NaN
                                    best = value
                                    where = h * W + v
                y[n, c, p, q] = best
                winner[n, c, p, q] = where


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
    """dx[n,c,h,w] = sum of dy[n,c,p,q] over the windows (p, q) that hold (h, w) and whose winner it is"""
    dx = np.empty(x_shape, dy.dtype)
    dy, winner = np.ascontiguousarray(dy), np.ascontiguousarray(winner)
    _grad_input(dy, winner, dx, *kernel_size, *stride, *padding, *dilation)
    return dx


@kernel
def _grad_input(dy, winner, dx, R, S, sh, sw, ph, pw, dh, dw):
    # parallel over (n, c); inside: h, then r, s downwards, then q along the row: each dx[n,c,h,v] meets its windows in
    # the order of (p, q), since p*sh = h + ph - r*dh grows as r falls
    N, C, H, W = dx.shape
    P, Q = dy.shape[2], dy.shape[3]
    for nc in prange(N * C):
        n, c = nc // C, nc % C
        for h in range(H):
            row = dx[n, c, h]
            row[:] = 0
            for r in range(R - 1, -1, -1):
                top = h + ph - r * dh
                if top >= 0 and top % sh == 0 and top // sh < P:
                    gradient, where = dy[n, c, top // sh], winner[n, c, top // sh]
                    for s in range(S - 1, -1, -1):
                        left = s * dw - pw
                        # the windows q of this row whose place s is inside the image: 0 <= q*sw + left < W
                        for q in range(max(0, -(left // sw)), min(Q, (W - 1 - left) // sw + 1)):
                            v = q * sw + left
                            if where[q] == h * W + v:
                                row[v] += gradient[q]
