"""The GRU layer, fused: one matrix product for the inputs of all steps, then one kernel through time.

Shapes: h and dh (T, N, H), gates (T, N, 4H), a, da and du (T, N, 3H), h0 (N, H). As in `ops/rnn/loops.py` the kernels
are parallel over groups of ROWS sequences; the three gates of a step are one product and one sweep.
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
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    reverse: bool,
) -> tuple[Array, Array]:
    """h[t] = (1 - z) n + z h[t-1]"""
    a = tiled.forward(np.ascontiguousarray(x), w_ih, b_ih)
    b = np.zeros(len(w_hh), x.dtype) if b_hh is None else np.ascontiguousarray(b_hh)
    h = np.empty((*x.shape[:2], w_hh.shape[1]), x.dtype)
    gates = np.empty((*x.shape[:2], 4 * w_hh.shape[1]), x.dtype)
    _forward(a, np.ascontiguousarray(h0), *panels(w_hh.T), b, reverse, h, gates)
    return h, gates


@kernel
def _forward(a, h0, w, wide, b, reverse, h, gates):
    # parallel over groups of sequences; inside: the steps, then sequences and units
    T, N, H = h.shape
    one = h.dtype.type(1)
    for group in prange((N + ROWS - 1) // ROWS):
        first, many = group * ROWS, min(ROWS, N - group * ROWS)
        state, sums = np.zeros(ROWS * H, h.dtype), np.empty(ROWS * wide, h.dtype)
        for r in range(many):
            for j in range(H):
                state[r * H + j] = h0[first + r, j]
        for step in range(T):
            t = T - 1 - step if reverse else step
            product(state, H, w, wide, sums)
            for row in range(many):
                given, gate = a[t, first + row], gates[t, first + row]
                s, old = sums[row * wide : (row + 1) * wide], state[row * H : (row + 1) * H]
                r, z, n, u = gate[:H], gate[H : 2 * H], gate[2 * H : 3 * H], gate[3 * H :]
                rz, into_n, s_u, b_u = gate[: 2 * H], given[2 * H :], s[2 * H :], b[2 * H :]
                for j in range(2 * H):  # each loop writes one line: vectors
                    rz[j] = one / (one + exp(-(given[j] + (s[j] + b[j]))))
                for j in range(H):
                    u[j] = s_u[j] + b_u[j]
                for j in range(H):
                    n[j] = tanh(into_n[j] + r[j] * u[j])
                for j in range(H):
                    old[j] = (one - z[j]) * n[j] + z[j] * old[j]
                h[t, first + row] = old


def grad_steps(
    dh: Array, h: Array, gates: Array, h0: Array, w_hh: Array, *, reverse: bool
) -> tuple[Array, Array, Array]:
    """Dh, da and du of each step, from the last to the first; dh0 is what comes back from the first"""
    da, du = np.empty((2, *h.shape[:2], len(w_hh)), h.dtype)
    dh0 = np.empty(h0.shape, h0.dtype)
    given = (np.ascontiguousarray(x) for x in (dh, h, gates, h0))
    _grad_steps(*given, *panels(w_hh), reverse, da, du, dh0)
    return da, du, dh0


@kernel
def _grad_steps(dh, h, gates, h0, w, wide, reverse, da, du, dh0):
    # parallel over groups of sequences; inside: the steps from the last to the first, then sequences and units
    T, N, H = h.shape
    one = h.dtype.type(1)
    for group in prange((N + ROWS - 1) // ROWS):
        first, many = group * ROWS, min(ROWS, N - group * ROWS)
        now, later = np.zeros(ROWS * 3 * H, h.dtype), np.zeros(ROWS * wide, h.dtype)
        carried = np.zeros(ROWS * H, h.dtype)  # Dh z of the next step
        for step in range(T):
            t = step if reverse else T - 1 - step
            before = t + 1 if reverse else t - 1
            for row in range(many):
                m, at = first + row, row * 3 * H
                gate = gates[t, m]
                for j in range(H):
                    r, z, n, u = gate[j], gate[H + j], gate[2 * H + j], gate[3 * H + j]
                    h_before = h0[m, j] if step == T - 1 else h[before, m, j]
                    d = dh[t, m, j] + (carried[row * H + j] + later[row * wide + j])
                    da_n = d * (one - z) * (one - n * n)
                    now[at + j] = da_n * u * r * (one - r)
                    now[at + H + j] = d * (h_before - n) * z * (one - z)
                    now[at + 2 * H + j] = da_n * r
                    da[t, m, 2 * H + j] = da_n
                    carried[row * H + j] = d * z
                for j in range(3 * H):
                    du[t, m, j] = now[at + j]
                for j in range(2 * H):
                    da[t, m, j] = now[at + j]
            product(now, 3 * H, w, wide, later)
        for row in range(many):
            for j in range(H):
                dh0[first + row, j] = carried[row * H + j] + later[row * wide + j]
