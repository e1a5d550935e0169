"""The LSTM layer, fused: one matrix product for the inputs of all steps, then one kernel through time.

Shapes: states and dstates (2, T, N, H), gates and da (T, N, 4H), h0 and c0 (N, H). As in `ops/rnn/loops.py` the kernels
are parallel over groups of ROWS sequences; the four gates of a step are one product and one sweep.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minicnn.backends.arrays import Array
from minicnn.backends.exponential import exp, tanh
from minicnn.backends.jit import kernel
from minicnn.ops.linear import tiled
from minicnn.ops.linear.loops import supports
from minicnn.ops.rnn.step_products import ROWS, panels, product

__all__ = ["forward", "grad_steps", "supports"]


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    reverse: bool,
) -> tuple[Array, Array]:
    """c[t] = f c[t-1] + i g, h[t] = o tanh(c[t])"""
    gates = tiled.forward(np.ascontiguousarray(x), w_ih, None if b_ih is None else b_ih + b_hh)
    states = np.empty((2, *x.shape[:2], w_hh.shape[1]), x.dtype)
    _forward(gates, np.ascontiguousarray(h0), np.ascontiguousarray(c0), *panels(w_hh.T), reverse, states)
    return states, gates


@kernel
def _forward(gates, h0, c0, w, wide, reverse, states):
    # gates holds x @ w_ih^T + biases at first. Parallel over groups of sequences; inside: steps, sequences, units
    _, T, N, H = states.shape
    one = states.dtype.type(1)
    for group in prange((N + ROWS - 1) // ROWS):
        first, many = group * ROWS, min(ROWS, N - group * ROWS)
        h, c = np.zeros(ROWS * H, states.dtype), np.zeros(ROWS * H, states.dtype)
        sums = np.empty(ROWS * wide, states.dtype)
        for r in range(many):
            for j in range(H):
                h[r * H + j], c[r * H + j] = h0[first + r, j], c0[first + r, j]
        for step in range(T):
            t = T - 1 - step if reverse else step
            product(h, H, w, wide, sums)
            for r in range(many):
                a, s = gates[t, first + r], sums[r * wide : (r + 1) * wide]
                i, f, g, o = a[:H], a[H : 2 * H], a[2 * H : 3 * H], a[3 * H :]  # each loop writes one line: vectors
                for gate, sum_ in ((i, s[:H]), (f, s[H : 2 * H]), (o, s[3 * H : 4 * H])):
                    for j in range(H):
                        gate[j] = one / (one + exp(-(gate[j] + sum_[j])))
                into_g = s[2 * H : 3 * H]
                for j in range(H):
                    g[j] = tanh(g[j] + into_g[j])
                cell, shown = c[r * H : (r + 1) * H], h[r * H : (r + 1) * H]
                for j in range(H):
                    cell[j] = f[j] * cell[j] + i[j] * g[j]
                for j in range(H):
                    shown[j] = o[j] * tanh(cell[j])
                states[0, t, first + r], states[1, t, first + r] = shown, cell


def grad_steps(
    dstates: Array, states: Array, gates: Array, c0: Array, w_hh: Array, *, reverse: bool
) -> tuple[Array, Array, Array]:
    """Dh, Dc and da of each step, from the last to the first; dh0 and dc0 are what comes back from the first"""
    da, dh0, dc0 = np.empty_like(gates), np.empty(c0.shape, c0.dtype), np.empty(c0.shape, c0.dtype)
    given = (np.ascontiguousarray(a) for a in (dstates, states, gates, c0))
    _grad_steps(*given, *panels(w_hh), reverse, da, dh0, dc0)
    return da, dh0, dc0


@kernel
def _grad_steps(dstates, states, gates, c0, w, wide, reverse, da, dh0, dc0):
    # parallel over groups of sequences; inside: the steps from the last to the first, then sequences and units
    _, T, N, H = states.shape
    one = states.dtype.type(1)
    for group in prange((N + ROWS - 1) // ROWS):
        first, many = group * ROWS, min(ROWS, N - group * ROWS)
        now, later = np.zeros(ROWS * 4 * H, states.dtype), np.zeros(ROWS * wide, states.dtype)
        carried = np.zeros(ROWS * H, states.dtype)  # Dc f of the next step
        for step in range(T):
            t = step if reverse else T - 1 - step
            before = t + 1 if reverse else t - 1
            for r in range(many):
                n, at = first + r, r * 4 * H
                gate = gates[t, n]
                for j in range(H):
                    i, f, g, o = gate[j], gate[H + j], gate[2 * H + j], gate[3 * H + j]
                    c_before = c0[n, j] if step == T - 1 else states[1, before, n, j]
                    tanh_c = tanh(states[1, t, n, j])
                    dh = dstates[0, t, n, j] + later[r * wide + j]
                    dc = dstates[1, t, n, j] + carried[r * H + j] + dh * o * (one - tanh_c * tanh_c)
                    now[at + j] = dc * g * i * (one - i)
                    now[at + H + j] = dc * c_before * f * (one - f)
                    now[at + 2 * H + j] = dc * i * (one - g * g)
                    now[at + 3 * H + j] = dh * tanh_c * o * (one - o)
                    carried[r * H + j] = dc * f
                for j in range(4 * H):
                    da[t, n, j] = now[at + j]
            product(now, 4 * H, w, wide, later)
        for r in range(many):
            for j in range(H):
                dh0[first + r, j], dc0[first + r, j] = later[r * wide + j], carried[r * H + j]
