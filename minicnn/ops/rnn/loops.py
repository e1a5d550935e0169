"""The recurrent layer, fused: one matrix product for the inputs of all steps, then one kernel through time.

Shapes: a, h, dh and da (T, N, H), h0 and dh0 (N, H). The kernels are parallel over groups of ROWS sequences, each of
which walks through all steps alone (`step_products.py`), so no sum depends on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.exponential import tanh
from minicnn.backends.jit import kernel
from minicnn.ops.linear import tiled
from minicnn.ops.linear.loops import supports
from minicnn.ops.rnn.step_products import ROWS, panels, product

__all__ = ["forward", "grad_steps", "supports"]


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
    """h[t] = s(a[t] + h[t-1] @ w_hh^T), with a = x @ w_ih^T + b_ih + b_hh of all steps at once"""
    h = tiled.forward(np.ascontiguousarray(x), w_ih, None if b_ih is None else b_ih + b_hh)
    _forward(h, np.ascontiguousarray(h0), *panels(w_hh.T), nonlinearity == "relu", reverse)
    return h


@kernel
def _forward(h, h0, w, wide, relu, reverse):
    # h holds a at first. Parallel over groups of sequences; inside: the steps, then sequences and units
    T, N, H = h.shape
    zero = h.dtype.type(0)
    for group in prange((N + ROWS - 1) // ROWS):
        first, many = group * ROWS, min(ROWS, N - group * ROWS)
        state, sums = np.zeros(ROWS * H, h.dtype), np.empty(ROWS * wide, h.dtype)
        for r in range(many):
            for j in range(H):
                state[r * H + j] = h0[first + r, j]
        for step in range(T):
            t = T - 1 - step if reverse else step
            product(state, H, w, wide, sums)
            for r in range(many):
                row, s = h[t, first + r], sums[r * wide : (r + 1) * wide]
                for j in range(H):
                    row[j] += s[j]
                if relu:
                    for j in range(H):
                        row[j] = zero if row[j] < 0 else row[j]  # NaN stays
                else:
                    for j in range(H):
                        row[j] = tanh(row[j])
                state[r * H : (r + 1) * H] = row


def grad_steps(dh: Array, h: Array, w_hh: Array, *, nonlinearity: str, reverse: bool) -> tuple[Array, Array]:
    """da[t] = s'(a[t]) (dh[t] + da[t+1] @ w_hh), and dh0 = da[0] @ w_hh"""
    da, dh0 = np.empty(h.shape, h.dtype), np.empty(h.shape[1:], h.dtype)
    arrays = np.ascontiguousarray(dh), np.ascontiguousarray(h)
    _grad_steps(*arrays, *panels(w_hh), nonlinearity == "relu", reverse, da, dh0)
    return da, dh0


@kernel
def _grad_steps(dh, h, w, wide, relu, reverse, da, dh0):
    # parallel over groups of sequences; inside: the steps from the last to the first, then sequences and units
    T, N, H = h.shape
    zero, one = h.dtype.type(0), h.dtype.type(1)
    for group in prange((N + ROWS - 1) // ROWS):
        first, many = group * ROWS, min(ROWS, N - group * ROWS)
        now, later = np.zeros(ROWS * H, h.dtype), np.zeros(ROWS * wide, h.dtype)
        for step in range(T):
            t = step if reverse else T - 1 - step
            for r in range(many):
                for j in range(H):
                    y = h[t, first + r, j]
                    d = dh[t, first + r, j] + later[r * wide + j]
                    d = (zero if y <= 0 else d) if relu else d * (one - y * y)
                    da[t, first + r, j] = d
                    now[r * H + j] = d
            product(now, H, w, wide, later)
        for r in range(many):
            for j in range(H):
                dh0[first + r, j] = later[r * wide + j]
