"""The LSTM layer, step by step, in NumPy. The yardstick of all other algorithms.

Shapes: x (T, N, I), h0 and c0 (N, H), w_ih (4H, I), w_hh (4H, H), biases (4H,); states (2, T, N, H), gates (T, N, 4H).
"""

from __future__ import annotations

import numpy as np

from minicnn.backends.arrays import Array
from minicnn.ops.elementwise.formula import sigmoid_forward as sigmoid
from minicnn.ops.rnn.formula import affine
from minicnn.ops.rnn.sequences import before, order


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
    states = np.empty((2, *x.shape[:2], w_hh.shape[1]), x.dtype)
    gates = np.empty((*x.shape[:2], len(w_hh)), x.dtype)
    h, c = h0, c0
    for t in order(len(x), reverse):
        i, f, g, o = np.split(affine(x[t], w_ih, b_ih) + affine(h, w_hh, b_hh), 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * np.tanh(c)
        states[0, t], states[1, t], gates[t] = h, c, np.concatenate([i, f, g, o], axis=1)
    return states, gates


def grad_steps(
    dstates: Array, states: Array, gates: Array, c0: Array, w_hh: Array, *, reverse: bool
) -> tuple[Array, Array, Array]:
    """Dh, Dc and da of each step, from the last to the first; dh0 and dc0 are what comes back from the first"""
    da, c_before = np.empty_like(gates), before(states[1], c0, reverse)
    dh_later, dc_later = np.zeros_like(c0), np.zeros_like(c0)
    for t in order(len(gates), reverse)[::-1]:
        i, f, g, o = np.split(gates[t], 4, axis=1)
        tanh_c = np.tanh(states[1, t])
        dh = dstates[0, t] + dh_later
        dc = dstates[1, t] + dc_later + dh * o * (1 - tanh_c**2)
        da_i, da_f = dc * g * i * (1 - i), dc * c_before[t] * f * (1 - f)
        da_g, da_o = dc * i * (1 - g**2), dh * tanh_c * o * (1 - o)
        da[t] = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
        dh_later, dc_later = da[t] @ w_hh, dc * f
    return da, dh_later, dc_later
