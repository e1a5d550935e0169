"""The GRU layer, step by step, in NumPy. The yardstick of all other algorithms.

Shapes: x (T, N, I), h0 (N, H), w_ih (3H, I), w_hh (3H, H), biases (3H,); h (T, N, H), gates (T, N, 4H).
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
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    reverse: bool,
) -> tuple[Array, Array]:
    """h[t] = (1 - z) n + z h[t-1]"""
    h = np.empty((*x.shape[:2], w_hh.shape[1]), x.dtype)
    gates = np.empty((*x.shape[:2], 4 * w_hh.shape[1]), x.dtype)
    state = h0
    for t in order(len(x), reverse):
        a_r, a_z, a_n = np.split(affine(x[t], w_ih, b_ih), 3, axis=1)
        u_r, u_z, u_n = np.split(affine(state, w_hh, b_hh), 3, axis=1)
        r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
        n = np.tanh(a_n + r * u_n)
        state = h[t] = (1 - z) * n + z * state
        gates[t] = np.concatenate([r, z, n, u_n], axis=1)
    return h, gates


def grad_steps(
    dh: Array, h: Array, gates: Array, h0: Array, w_hh: Array, *, reverse: bool
) -> tuple[Array, Array, Array]:
    """Dh, da and du of each step, from the last to the first; dh0 is what comes back from the first"""
    da, du = np.empty((2, *h.shape[:2], len(w_hh)), h.dtype)
    h_before, later = before(h, h0, reverse), np.zeros_like(h0)
    for t in order(len(h), reverse)[::-1]:
        r, z, n, u_n = np.split(gates[t], 4, axis=1)
        d = dh[t] + later
        da_n = d * (1 - z) * (1 - n**2)
        da_r, da_z = da_n * u_n * r * (1 - r), d * (h_before[t] - n) * z * (1 - z)
        da[t] = np.concatenate([da_r, da_z, da_n], axis=1)
        du[t] = np.concatenate([da_r, da_z, da_n * r], axis=1)
        later = d * z + du[t] @ w_hh
    return da, du, later
