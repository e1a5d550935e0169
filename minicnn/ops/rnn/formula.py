"""The recurrent layer as printed (D4.3), step by step, in NumPy. The yardstick of all other algorithms.

Shapes: x (T, N, I), h0 and dh0 (N, H), w_ih (H, I), w_hh (H, H), b_ih and b_hh (H,); h, dh and da (T, N, H).
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.relu import formula as relu
from minicnn.ops.rnn.sequences import order


def forward(
    x: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    nonlinearity: str,
    reverse: bool,
) -> Array:
    """h[t] = s(x[t] @ w_ih^T + b_ih + h[t-1] @ w_hh^T + b_hh)"""
    h = np.empty((*x.shape[:2], len(w_hh)), x.dtype)
    state = h0
    for t in order(len(x), reverse):
        a = affine(x[t], w_ih, b_ih) + affine(state, w_hh, b_hh)
        state = h[t] = np.tanh(a) if nonlinearity == "tanh" else relu.forward(a)
    return h


def grad_steps(dh: Array, h: Array, w_hh: Array, *, nonlinearity: str, reverse: bool) -> tuple[Array, Array]:
    """da[t] = s'(a[t]) (dh[t] + da[t+1] @ w_hh), and dh0 = da[0] @ w_hh"""
    da, later = np.empty_like(dh), np.zeros(dh.shape[1:], dh.dtype)
    for t in order(len(h), reverse)[::-1]:
        d = dh[t] + later
        da[t] = d * (1 - h[t] ** 2) if nonlinearity == "tanh" else relu.grad_input(d, h[t])
        later = da[t] @ w_hh
    return da, later


def affine(x: Array, w: Array, b: Array | None) -> Array:
    """x @ w^T + b of one step"""
    return x @ w.T if b is None else x @ w.T + b
