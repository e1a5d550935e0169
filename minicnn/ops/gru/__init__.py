r"""The GRU layer, gated recurrent unit (Cho et al. 2014).

Like an LSTM (`minicnn.ops.lstm`) it carries its state on by a sum, but with one state and three gates. Formula, with s
the sigmoid, in the form of PyTorch and cuDNN (the reset gate r acts after the product, so that all products of a step
are one)::

    a[t] = x[t] @ w_ih^T + b_ih          u[t] = h[t-1] @ w_hh^T + b_hh          three blocks of H each: r, z, n
    r = s(a_r + u_r)    z = s(a_z + u_z)    n = tanh(a_n + r u_n)
    h[t] = (1 - z) n + z h[t-1]

Shapes: `x: (T, N, I)`, `h0: (N, H)`, `w_ih: (3H, I)`, `w_hh: (3H, H)`, `b_ih, b_hh: (3H,)`, `h: (T, N, H)`; `gates:
(T, N, 4H)` holds r, z, n and u_n, which the way back needs. With `reverse` the sequence is read from its end.

The gradients, from `dh = dL/dh` of every step, from the last step to the first. Dh is that with what comes back from
the next step; da and du differ in the block of n alone::

    Dh   = dh[t] + Dh[t+1] z[t+1] + du[t+1] @ w_hh
    da_n = Dh (1 - z) (1 - n^2)          du_n = da_n r
    da_r = du_r = da_n u_n r (1 - r)     da_z = du_z = Dh (h[t-1] - n) z (1 - z)
    dh0  = Dh[0] z[0] + du[0] @ w_hh

This is the pass `grad_steps`. The others are passes of `linear`, as in `minicnn.ops.rnn`: x, w_ih and b_ih get theirs
from da, w_hh and b_hh from du.

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| loops   | all inputs in one product, then one kernel through time, the three gates in one | all | float32, float64 |
| formula | NumPy, step by step: the yardstick | all | any float dtype |
| cuda    | step by step: a product, then gate by gate | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ShapeError
from minicnn.ops.registry import Operation
from minicnn.ops.rnn.sequences import check_gradient, check_sequence, check_states, gradients


def forward(
    x: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    reverse: bool = False,
) -> tuple[Array, Array]:
    """States h and gates (r, z, n, u_n) of all steps.

    Parameters
    ----------
    x : array (T, N, I), float
        T >= 1; N may be 0.
    h0 : array (N, H), same dtype
        The state before the first step.
    w_ih, w_hh : arrays (3H, I) and (3H, H)
    b_ih, b_hh : arrays (3H,), optional
        Both or none.
    reverse : bool
        Read the sequence from its end.

    Returns
    -------
    h : array (T, N, H)
    gates : array (T, N, 4H)

    Raises
    ------
    ShapeError, DTypeError
        Before any compiled code runs.
    """
    steps, n, hidden = check_sequence("gru", 3, x, w_ih, w_hh, b_ih, b_hh, h0=h0)
    arrays, shapes = (x, h0, w_ih, w_hh, b_ih, b_hh), ((steps, n, hidden), (steps, n, 4 * hidden))
    return OPERATION.run("forward", arrays, {"reverse": bool(reverse)}, *shapes)


def grad_steps(
    dh: Array, h: Array, gates: Array, h0: Array, w_hh: Array, *, reverse: bool = False
) -> tuple[Array, Array, Array]:
    """Through time: da and du: (T, N, 3H), the gradients of the two products of each step, and dh0: (N, H)."""
    called = "gru.grad_steps"
    check_arrays(called, dh=dh, h=h, gates=gates, h0=h0, w_hh=w_hh)
    check_states(h, w_hh, 3, called)
    check_gradient(dh, h.shape, called)
    steps, n, hidden = h.shape
    if gates.shape != (steps, n, 4 * hidden) or h0.shape != (n, hidden):
        seen = f"gates {gates.shape}, h0 {h0.shape}, h {h.shape}"
        raise ShapeError("gates or h0 do not fit h", called=called, seen=seen, rule="(T, N, 4H) and (N, H)")
    products = (steps, n, 3 * hidden)
    arrays, shapes = (dh, h, gates, h0, w_hh), (products, products, h0.shape)
    return OPERATION.run("grad_steps", arrays, {"reverse": bool(reverse)}, *shapes)


def record(
    needs: tuple[bool, ...],
    x: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    reverse: bool = False,
) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: states, gates, h0 and w_hh are saved for the way back, x for w_ih."""
    h, gates = forward(x, h0, w_ih, w_hh, b_ih, b_hh, reverse=reverse)
    saved: dict[str, Any] = dict.fromkeys(("h", "gates", "x", "h0", "w_ih", "w_hh"))
    if any(needs):
        saved |= {"h": h, "gates": gates, "h0": h0, "w_hh": w_hh}
        saved |= {"x": x if needs[2] else None, "w_ih": w_ih if needs[0] else None}
    return h, {**saved, "options": {"reverse": reverse}}


def backward(needs: tuple[bool, ...], saved: dict[str, Any], dh: Array) -> tuple[Array | None, ...]:
    """Gradients of (x, h0, w_ih, w_hh, b_ih, b_hh) for the tape."""
    s, reverse = saved, saved["options"]["reverse"]
    da, du, dh0 = grad_steps(dh, s["h"], s["gates"], s["h0"], s["w_hh"], reverse=reverse)
    dx, *weights = gradients((needs[0], *needs[2:]), da, du, s["x"], s["h"], s["h0"], s["w_ih"], reverse)
    return (dx, dh0 if needs[1] else None, *weights)


OPERATION = Operation(
    name="gru",
    formula=r"h_t = (1 - z) \odot n + z \odot h_{t-1}",
    inputs=("x", "h0", "w_ih", "w_hh", "b_ih", "b_hh"),
    record=record,
    backward=backward,
    passes=("forward", "grad_steps"),
    algorithms=("loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
