"""Convolution as plain loops, compiled: what Numba alone gives.

Shapes: x (N, C, H, W), w (K, C/G, R, S), b (K,), y and dy (N, K, P, Q), all contiguous; xp is x with its padding.

`grad_input` gathers: each dx[n,c,h,w] looks for the outputs that used it, so no two threads write to one place and the
order of each sum is fixed.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.jit import kernel
from minicnn.ops.registry import Problem
from minicnn.ops.windows import Pair, output_size, pad


def supports(problem: Problem) -> str:
    if problem.device != "cpu":
        return "arrays must live on the CPU"
    return "" if problem.dtype in (np.float32, np.float64) else "dtype must be float32 or float64"


def forward(x: Array, w: Array, b: Array | None, *, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Array:
    """y[n,k,p,q] = b[k] + sum_{c,r,s} xp[n, c, p*stride + r*dilation, q*stride + s*dilation] w[k,c,r,s]"""
    out = [output_size(x.shape[2 + a], w.shape[2 + a], stride[a], padding[a], dilation[a]) for a in (0, 1)]
    y = np.empty((x.shape[0], w.shape[0], *out), x.dtype)
    b = np.zeros(w.shape[0], x.dtype) if b is None else np.ascontiguousarray(b)
    _forward(pad(x, padding), np.ascontiguousarray(w), b, y, *stride, *dilation, groups)
    return y


@kernel
def _forward(xp, w, b, y, sh, sw, dh, dw, groups):
    # parallel over (n, k); inside: p, q, then the sum over c, r, s
    N, K, P, Q = y.shape
    _, C, R, S = w.shape
    for nk in prange(N * K):
        n, k = nk // K, nk % K
        c0 = k // (K // groups) * C
        for p in range(P):
            for q in range(Q):
                total = b[k]
                for c in range(C):
                    for r in range(R):
                        for s in range(S):
                            total += xp[n, c0 + c, p * sh + r * dh, q * sw + s * dw] * w[k, c, r, s]
                y[n, k, p, q] = total


def grad_input(
    dy: Array, w: Array, *, x_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """dx[n,c,h,w] = sum_{k,r,s} dy[n,k,p,q] w[k,c,r,s] over p*stride = h + padding - r*dilation, q alike"""
    dx = np.empty(x_shape, dy.dtype)
    _grad_input(np.ascontiguousarray(dy), np.ascontiguousarray(w), dx, *stride, *padding, *dilation, groups)
    return dx


@kernel
def _grad_input(dy, w, dx, sh, sw, ph, pw, dh, dw, groups):
    # parallel over (n, c); inside: h, v (place in the image), then the sum over k, r, s
    N, C, H, W = dx.shape
    _, K, P, Q = dy.shape
    _, CG, R, S = w.shape
    KG = K // groups
    for nc in prange(N * C):
        n, c = nc // C, nc % C
        k0 = c // CG * KG
        for h in range(H):
            for v in range(W):
                total = dx.dtype.type(0)
                for k in range(k0, k0 + KG):
                    for r in range(R):
                        top = h + ph - r * dh
                        if top >= 0 and top % sh == 0 and top // sh < P:
                            for s in range(S):
                                left = v + pw - s * dw
                                if left >= 0 and left % sw == 0 and left // sw < Q:
                                    total += dy[n, k, top // sh, left // sw] * w[k, c % CG, r, s]
                dx[n, c, h, v] = total


def grad_weight(
    dy: Array, x: Array, *, w_shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """dw[k,c,r,s] = sum_{n,p,q} dy[n,k,p,q] xp[n, c, p*stride + r*dilation, q*stride + s*dilation]"""
    grad = np.empty(w_shape, dy.dtype)
    _grad_weight(np.ascontiguousarray(dy), pad(x, padding), grad, *stride, *dilation, groups)
    return grad


@kernel
def _grad_weight(dy, xp, grad, sh, sw, dh, dw, groups):
    # parallel over (k, c); inside: r, s, then the sum over n, p, q
    N, K, P, Q = dy.shape
    _, C, R, S = grad.shape
    for kc in prange(K * C):
        k, c = kc // C, kc % C
        c0 = k // (K // groups) * C
        for r in range(R):
            for s in range(S):
                total = grad.dtype.type(0)
                for n in range(N):
                    for p in range(P):
                        for q in range(Q):
                            total += dy[n, k, p, q] * xp[n, c0 + c, p * sh + r * dh, q * sw + s * dw]
                grad[k, c, r, s] = total


def grad_bias(dy: Array) -> Array:
    """db[k] = sum_{n,p,q} dy[n,k,p,q]"""
    db = np.empty(dy.shape[1], dy.dtype)
    _grad_bias(np.ascontiguousarray(dy), db)
    return db


@kernel
def _grad_bias(dy, db):
    # parallel over k; inside: n, p, q
    N, K, P, Q = dy.shape
    for k in prange(K):
        total = dy.dtype.type(0)
        for n in range(N):
            for p in range(P):
                for q in range(Q):
                    total += dy[n, k, p, q]
        db[k] = total
