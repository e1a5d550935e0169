"""The GRU layer on the GPU: the inputs of all steps in one product, then some kernels a step, one by one."""

from __future__ import annotations

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.elementwise.cuda import binary, unary
from minicnn.ops.linear.cuda import forward as linear
from minicnn.ops.lstm.cuda import blocks
from minicnn.ops.matmul.cuda import product
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
    """h[t] = (1 - z) n + z h[t-1], as n + z (h[t-1] - n)"""
    a, hidden = linear(x, w_ih, b_ih), w_hh.shape[1]
    h, gates = (cuda.empty((*x.shape[:2], many * hidden), x.dtype) for many in (1, 4))
    state = h0
    for t in order(len(x), reverse):
        (a_r, a_z, a_n), (u_r, u_z, u_n) = blocks(a[t], 3), blocks(linear(state, w_hh, b_hh), 3)
        r, z = (unary("logistic", binary("add", *pair)) for pair in ((a_r, u_r), (a_z, u_z)))
        n = unary("hyperbolic_tangent", binary("add", a_n, binary("multiply", r, u_n)))
        state = binary("add", n, binary("multiply", z, binary("subtract", state, n)))
        for place, value in zip((h[t], *blocks(gates[t], 4)), (state, r, z, n, u_n), strict=True):
            cuda_kernels.copy_into(place, value)
    return h, gates


def grad_steps(
    dh: Array, h: Array, gates: Array, h0: Array, w_hh: Array, *, reverse: bool
) -> tuple[Array, Array, Array]:
    """Dh, da and du of each step, from the last to the first; dh0 is what comes back from the first"""
    da, du = (cuda.empty((*h.shape[:2], len(w_hh)), h.dtype) for _ in range(2))
    h_before = before(h, h0, reverse)
    later: Array = None
    for t in order(len(h), reverse)[::-1]:
        r, z, n, u_n = blocks(gates[t], 4)
        d = dh[t] if later is None else binary("add", dh[t], later)
        carried = binary("multiply", d, z)
        da_n = binary("tangent_gradient", binary("subtract", d, carried), n)
        da_r = binary("logistic_gradient", binary("multiply", da_n, u_n), r)
        da_z = binary("logistic_gradient", binary("multiply", d, binary("subtract", h_before[t], n)), z)
        for place, value in zip(blocks(da[t], 3), (da_r, da_z, da_n), strict=True):
            cuda_kernels.copy_into(place, value)
        for place, value in zip(blocks(du[t], 3), (da_r, da_z, binary("multiply", da_n, r)), strict=True):
            cuda_kernels.copy_into(place, value)
        later = binary("add", carried, product(du[t], w_hh))
    return da, du, later
