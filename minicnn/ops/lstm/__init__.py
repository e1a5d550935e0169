r"""The LSTM layer, long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

A recurrent layer (`minicnn.ops.rnn`) sends its state through a matrix and a nonlinearity at every step, and its
gradient back through both: over many steps it vanishes. Here a second state, the cell c, is carried on by a sum, and
gates between 0 and 1 say what is forgotten, what is added and what is shown. Formula, with s the sigmoid::

    a[t] = x[t] @ w_ih^T + b_ih + h[t-1] @ w_hh^T + b_hh       four blocks of H: a_i, a_f, a_g, a_o
    i = s(a_i)    f = s(a_f)    g = tanh(a_g)    o = s(a_o)
    c[t] = f c[t-1] + i g
    h[t] = o tanh(c[t])

Shapes: `x: (T, N, I)`, `h0, c0: (N, H)`, `w_ih: (4H, I)`, `w_hh: (4H, H)`, `b_ih, b_hh: (4H,)`. The result `states:
(2, T, N, H)` holds h and c of all steps; `gates: (T, N, 4H)` holds i, f, g, o, which the way back needs. With `reverse`
the sequence is read from its end.

The gradients, from `dh = dL/dh` and `dc = dL/dc` of every step, from the last step to the first. Dh and Dc are those
with what comes back from the next step::

    Dh   = dh[t] + da[t+1] @ w_hh
    Dc   = dc[t] + Dc[t+1] f[t+1] + Dh o (1 - tanh(c[t])^2)
    da_i = Dc g i (1 - i)         da_f = Dc c[t-1] f (1 - f)
    da_g = Dc i (1 - g^2)         da_o = Dh tanh(c[t]) o (1 - o)
    dh0  = da[0] @ w_hh           dc0  = Dc[0] f[0]

This is the pass `grad_steps`; the gradients of x, weights and biases follow from da as in `minicnn.ops.rnn`.

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| loops   | all inputs in one product, then one kernel through time, the four gates in one | all | float32, float64 |
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
    c0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    reverse: bool = False,
) -> tuple[Array, Array]:
    """States (h and c) and gates (i, f, g, o) of all steps.

    Parameters
    ----------
    x : array (T, N, I), float
        T >= 1; N may be 0.
    h0, c0 : arrays (N, H), same dtype
        The states before the first step.
    w_ih, w_hh : arrays (4H, I) and (4H, H)
    b_ih, b_hh : arrays (4H,), optional
        Both or none.
    reverse : bool
        Read the sequence from its end.

    Returns
    -------
    states : array (2, T, N, H)
    gates : array (T, N, 4H)

    Raises
    ------
    ShapeError, DTypeError
        Before any compiled code runs.
    """
    steps, n, hidden = check_sequence("lstm", 4, x, w_ih, w_hh, b_ih, b_hh, h0=h0, c0=c0)
    arrays, shapes = (x, h0, c0, w_ih, w_hh, b_ih, b_hh), ((2, steps, n, hidden), (steps, n, 4 * hidden))
    return OPERATION.run("forward", arrays, {"reverse": bool(reverse)}, *shapes)


def grad_steps(
    dstates: Array, states: Array, gates: Array, c0: Array, w_hh: Array, *, reverse: bool = False
) -> tuple[Array, Array, Array]:
    """Through time: da: (T, N, 4H), the gradient before the nonlinearities, dh0 and dc0: (N, H)."""
    called = "lstm.grad_steps"
    check_arrays(called, dstates=dstates, states=states, gates=gates, c0=c0, w_hh=w_hh)
    if states.ndim != 4 or len(states) != 2:
        raise ShapeError("states must hold h and c", called=called, seen=f"{states.shape}", rule="(2, T, N, H)")
    check_states(states[0], w_hh, 4, called)
    check_gradient(dstates, states.shape, called)
    _, steps, n, hidden = states.shape
    if gates.shape != (steps, n, 4 * hidden) or c0.shape != (n, hidden):
        seen = f"gates {gates.shape}, c0 {c0.shape}, states {states.shape}"
        raise ShapeError("gates or c0 do not fit the states", called=called, seen=seen, rule="(T, N, 4H) and (N, H)")
    arrays, shapes = (dstates, states, gates, c0, w_hh), (gates.shape, c0.shape, c0.shape)
    return OPERATION.run("grad_steps", arrays, {"reverse": bool(reverse)}, *shapes)


def record(
    needs: tuple[bool, ...],
    x: Array,
    h0: Array,
    c0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    reverse: bool = False,
) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: states, gates, c0 and w_hh are saved for the way back, x and h0 for the weights."""
    states, gates = forward(x, h0, c0, w_ih, w_hh, b_ih, b_hh, reverse=reverse)
    saved: dict[str, Any] = dict.fromkeys(("states", "gates", "x", "h0", "c0", "w_ih", "w_hh"))
    if any(needs):
        saved |= {"states": states, "gates": gates, "c0": c0, "w_hh": w_hh, "w_ih": w_ih if needs[0] else None}
        saved |= {"x": x if needs[3] else None, "h0": h0 if needs[4] else None}
    return states, {**saved, "options": {"reverse": reverse}}


def backward(needs: tuple[bool, ...], saved: dict[str, Any], dstates: Array) -> tuple[Array | None, ...]:
    """Gradients of (x, h0, c0, w_ih, w_hh, b_ih, b_hh) for the tape."""
    s, reverse = saved, saved["options"]["reverse"]
    da, dh0, dc0 = grad_steps(dstates, s["states"], s["gates"], s["c0"], s["w_hh"], reverse=reverse)
    wanted = needs[0], *needs[3:]
    dx, *weights = gradients(wanted, da, da, s["x"], s["states"][0], s["h0"], s["w_ih"], reverse)
    return (dx, dh0 if needs[1] else None, dc0 if needs[2] else None, *weights)


OPERATION = Operation(
    name="lstm",
    formula=r"c_t = f \odot c_{t-1} + i \odot g,\quad h_t = o \odot \tanh(c_t)",
    inputs=("x", "h0", "c0", "w_ih", "w_hh", "b_ih", "b_hh"),
    record=record,
    backward=backward,
    passes=("forward", "grad_steps"),
    algorithms=("loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
