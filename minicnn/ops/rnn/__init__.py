r"""A recurrent layer (Elman's network): one state that is carried from step to step through a sequence.

Formula D4.3, as printed::

    h_t = s(W_hh h_{t-1} + W_xh x_t + b_h)        o_t = W_ho h_t + b_o        y_t = s(o_t)

Here the first of the three, for sequences of T steps in a batch of N; the other two are a `linear` layer and an
activation, which whoever builds a network puts behind it. There are two biases, as in PyTorch and cuDNN: their sum is
b_h. The printed s is the sigmoid; in practice it is tanh, which is centred at 0, or ReLU::

    a[t] = x[t] @ w_ih^T + b_ih + h[t-1] @ w_hh^T + b_hh
    h[t] = s(a[t])

Shapes: `x: (T, N, I)`, `h0: (N, H)`, `w_ih: (H, I)`, `w_hh: (H, H)`, `b_ih, b_hh: (H,)`, `h: (T, N, H)`. With
`reverse` the sequence is read from its end: the step before t is t + 1, and h0 comes before the last one.

The gradients (backpropagation through time). What h[t] does to the loss comes from above, dh[t] = dL/dh[t], and through
the next step, whose a[t+1] holds h[t] @ w_hh^T. From the last step to the first::

    da[t] = s'(a[t]) (dh[t] + da[t+1] @ w_hh)       da[T] = 0;  s' = 1 - h^2 for tanh; for ReLU 1 where h > 0, else 0
    dh0   = da[0] @ w_hh

This is the pass `grad_steps`. Every a[t] is a sum of two fully connected layers with the same weights, so the others
are passes of `linear`, over all steps at once::

    dx = da @ w_ih        dw_ih = sum_t da[t]^T x[t]        dw_hh = sum_t da[t]^T h[t-1]        db_ih = db_hh = sum da

| algorithm | idea | passes | when it runs |
|---|---|---|---|
| loops   | all inputs in one product, then one kernel through time | all | float32, float64 |
| formula | NumPy, step by step: the yardstick | all | any float dtype |
| cuda    | step by step: a product, a sum, an activation | all | on the GPU: float32 and float64 |
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ArgumentError
from minicnn.ops.registry import Operation
from minicnn.ops.rnn.sequences import check_gradient, check_sequence, check_states, gradients

NONLINEARITIES = ("tanh", "relu")


def forward(
    x: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> Array:
    """h[t] = s(x[t] @ w_ih^T + b_ih + h[t-1] @ w_hh^T + b_hh) (formula D4.3).

    Parameters
    ----------
    x : array (T, N, I), float
        T >= 1; N may be 0.
    h0 : array (N, H), same dtype
        The state before the first step.
    w_ih, w_hh : arrays (H, I) and (H, H)
    b_ih, b_hh : arrays (H,), optional
        Both or none.
    nonlinearity : "tanh" or "relu"
    reverse : bool
        Read the sequence from its end.

    Returns
    -------
    array (T, N, H)
        The states of all steps.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Before any compiled code runs.
    """
    check_nonlinearity(nonlinearity, "rnn")
    shape = check_sequence("rnn", 1, x, w_ih, w_hh, b_ih, b_hh, h0=h0)
    options = {"nonlinearity": nonlinearity, "reverse": bool(reverse)}
    return OPERATION.run("forward", (x, h0, w_ih, w_hh, b_ih, b_hh), options, shape)


def grad_steps(
    dh: Array, h: Array, w_hh: Array, *, nonlinearity: str = "tanh", reverse: bool = False
) -> tuple[Array, Array]:
    """Through time: da: (T, N, H), the gradient before the nonlinearity, and dh0: (N, H)."""
    called = "rnn.grad_steps"
    check_arrays(called, dh=dh, h=h, w_hh=w_hh)
    check_nonlinearity(nonlinearity, called)
    check_states(h, w_hh, 1, called)
    check_gradient(dh, h.shape, called)
    options = {"nonlinearity": nonlinearity, "reverse": bool(reverse)}
    return OPERATION.run("grad_steps", (dh, h, w_hh), options, h.shape, h.shape[1:])


def check_nonlinearity(nonlinearity: str, called: str) -> None:
    """Raise unless it is known."""
    if nonlinearity not in NONLINEARITIES:
        raise ArgumentError(
            "nonlinearity is not valid",
            called=called,
            seen=f"nonlinearity={nonlinearity!r}",
            rule=" or ".join(map(repr, NONLINEARITIES)),
        )


def record(
    needs: tuple[bool, ...],
    x: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    **options: Any,
) -> tuple[Array, dict[str, Any]]:
    """Forward for the tape: the states and w_hh are saved for the way back through time, x and h0 for the weights."""
    h = forward(x, h0, w_ih, w_hh, b_ih, b_hh, **options)
    saved: dict[str, Any] = dict.fromkeys(("h", "x", "h0", "w_ih", "w_hh"))
    if any(needs):
        saved |= {"h": h, "w_hh": w_hh, "x": x if needs[2] else None, "h0": h0 if needs[3] else None}
        saved["w_ih"] = w_ih if needs[0] else None
    return h, {**saved, "options": options}


def backward(needs: tuple[bool, ...], saved: dict[str, Any], dh: Array) -> tuple[Array | None, ...]:
    """Gradients of (x, h0, w_ih, w_hh, b_ih, b_hh) for the tape."""
    options = saved["options"]
    da, dh0 = grad_steps(dh, saved["h"], saved["w_hh"], **options)
    reverse = options.get("reverse", False)
    dx, *weights = gradients(
        (needs[0], *needs[2:]), da, da, saved["x"], saved["h"], saved["h0"], saved["w_ih"], reverse
    )
    return (dx, dh0 if needs[1] else None, *weights)


OPERATION = Operation(
    name="rnn",
    formula=r"h_t = s(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})",
    inputs=("x", "h0", "w_ih", "w_hh", "b_ih", "b_hh"),
    record=record,
    backward=backward,
    passes=("forward", "grad_steps"),
    algorithms=("loops", "formula"),
    cuda=("cuda",),
    package=__name__,
)
