"""The LSTM layer on the GPU: the inputs of all steps in one product, then some kernels a step, one by one."""

from __future__ import annotations

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.elementwise.cuda import binary, unary
from minicnn.ops.linear.cuda import forward as linear
from minicnn.ops.matmul.cuda import product
from minicnn.ops.rnn.sequences import before, order

NONLINEARITIES = ("logistic", "logistic", "hyperbolic_tangent", "logistic")  # of i, f, g, o


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
    a = linear(x, w_ih, b_ih)
    gates, states = cuda.empty(a.shape, a.dtype), cuda.empty((2, *a.shape[:2], w_hh.shape[1]), a.dtype)
    h, c = h0, c0
    for t in order(len(x), reverse):
        total = binary("add", a[t], linear(h, w_hh, b_hh))
        i, f, g, o = (unary(s, part) for s, part in zip(NONLINEARITIES, blocks(total, 4), strict=True))
        c = binary("add", binary("multiply", f, c), binary("multiply", i, g))
        h = binary("multiply", o, unary("hyperbolic_tangent", c))
        for place, value in zip((states[0, t], states[1, t], *blocks(gates[t], 4)), (h, c, i, f, g, o), strict=True):
            cuda_kernels.copy_into(place, value)
    return states, gates


def grad_steps(
    dstates: Array, states: Array, gates: Array, c0: Array, w_hh: Array, *, reverse: bool
) -> tuple[Array, Array, Array]:
    """Dh, Dc and da of each step, from the last to the first; dh0 and dc0 are what comes back from the first"""
    da, c_before = cuda.empty(gates.shape, gates.dtype), before(states[1], c0, reverse)
    dh_later: Array = None
    dc_later: Array = None
    for t in order(len(gates), reverse)[::-1]:
        i, f, g, o = blocks(gates[t], 4)
        tanh_c = unary("hyperbolic_tangent", states[1, t])
        dh = dstates[0, t] if dh_later is None else binary("add", dstates[0, t], dh_later)
        dc = dstates[1, t] if dc_later is None else binary("add", dstates[1, t], dc_later)
        dc = binary("add", dc, binary("tangent_gradient", binary("multiply", dh, o), tanh_c))
        found = (
            binary("logistic_gradient", binary("multiply", dc, g), i),
            binary("logistic_gradient", binary("multiply", dc, c_before[t]), f),
            binary("tangent_gradient", binary("multiply", dc, i), g),
            binary("logistic_gradient", binary("multiply", dh, tanh_c), o),
        )
        for place, value in zip(blocks(da[t], 4), found, strict=True):
            cuda_kernels.copy_into(place, value)
        dh_later, dc_later = product(da[t], w_hh), binary("multiply", dc, f)
    return da, dh_later, dc_later


def blocks(x: Array, many: int) -> list[Array]:
    """The columns of x in so many parts: views."""
    wide = x.shape[1] // many
    return [x[:, i * wide : (i + 1) * wide] for i in range(many)]
