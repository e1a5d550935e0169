"""The recurrent layer on the GPU: the inputs of all steps in one product, then some kernels a step, one by one."""

from __future__ import annotations

from minicnn.backends import cuda, cuda_kernels
from minicnn.backends.arrays import Array
from minicnn.ops.elementwise.cuda import binary, unary
from minicnn.ops.linear.cuda import forward as linear
from minicnn.ops.matmul.cuda import product
from minicnn.ops.relu import cuda as relu
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
    a = linear(x, w_ih, b_ih)
    h, state = cuda.empty(a.shape, a.dtype), h0
    for t in order(len(x), reverse):
        total = binary("add", a[t], linear(state, w_hh, b_hh))
        state = unary("hyperbolic_tangent", total) if nonlinearity == "tanh" else relu.forward(total)
        cuda_kernels.copy_into(h[t], state)
    return h


def grad_steps(dh: Array, h: Array, w_hh: Array, *, nonlinearity: str, reverse: bool) -> tuple[Array, Array]:
    """da[t] = s'(a[t]) (dh[t] + da[t+1] @ w_hh), and dh0 = da[0] @ w_hh"""
    da = cuda.empty(h.shape, h.dtype)
    later: Array = None
    for t in order(len(h), reverse)[::-1]:
        d = dh[t] if later is None else binary("add", dh[t], later)
        d = binary("tangent_gradient", d, h[t]) if nonlinearity == "tanh" else relu.grad_input(d, h[t])
        cuda_kernels.copy_into(da[t], d)
        later = product(d, w_hh)
    return da, later
