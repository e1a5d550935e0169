"""What `rnn`, `lstm` and `gru` share: their checks, the order of the steps, and the gradients that need no recursion.

Shapes: x (T, N, I), states (N, H), w_ih (G, I), w_hh (G, H), biases (G,), with G = gates * H.
"""

from __future__ import annotations

from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ShapeError
from minicnn.ops import linear
from minicnn.ops.registry import operation

Shape = tuple[int, ...]


def check_sequence(
    called: str,
    gates: int,
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    **states: Array,
) -> Shape:
    """Raise unless all arrays fit each other; return (T, N, H)."""
    check_arrays(called, x=x, **states, w_ih=w_ih, w_hh=w_hh, b_ih=b_ih, b_hh=b_hh)
    if x.ndim != 3:
        raise ShapeError("x must have 3 axes", called=called, seen=f"x {x.shape}", rule="x: (T, N, I)")
    if x.shape[0] == 0:
        raise ShapeError("a sequence of length zero", called=called, seen=f"x {x.shape}", rule="x: (T, N, I), T >= 1")
    letter = "H" if gates == 1 else f"{gates} H"
    hidden = check_hidden(w_hh, gates, called)
    if w_ih.ndim != 2 or w_ih.shape[0] != gates * hidden or 0 in w_ih.shape:
        raise ShapeError(
            "w_ih does not fit w_hh",
            called=called,
            seen=f"w_ih {w_ih.shape}, w_hh {w_hh.shape}",
            rule=f"w_ih: ({letter}, I), w_hh: ({letter}, H)",
        )
    if x.shape[2] != w_ih.shape[1]:
        raise ShapeError(
            "the features of x and w_ih differ",
            called=called,
            seen=f"x {x.shape}, w_ih {w_ih.shape}",
            rule=f"x: (T, N, I), w_ih: ({letter}, I)",
            hint=f"give {w_ih.shape[1]} features a step",
        )
    if (b_ih is None) != (b_hh is None):
        raise ShapeError("one bias is missing", called=called, rule="both b_ih and b_hh, or none")
    for name, b in (("b_ih", b_ih), ("b_hh", b_hh)):
        if b is not None and b.shape != w_ih.shape[:1]:
            raise ShapeError(
                f"{name} does not fit w_ih",
                called=called,
                seen=f"{name} {b.shape}, w_ih {w_ih.shape}",
                rule=f"({letter},)",
            )
    shape = (x.shape[1], hidden)
    for name, state in states.items():
        if state.shape != shape:
            raise ShapeError(
                f"the initial state {name} does not fit",
                called=called,
                seen=f"{name} {state.shape}, x {x.shape}, w_hh {w_hh.shape}",
                rule=f"{name}: (N, H), here {shape}",
            )
    return (x.shape[0], *shape)


def check_hidden(w_hh: Array, gates: int, called: str) -> int:
    """Raise unless w_hh: (gates * H, H) with H >= 1; return H."""
    if w_hh.ndim != 2 or 0 in w_hh.shape or w_hh.shape[0] != gates * w_hh.shape[1]:
        letter = "H" if gates == 1 else f"{gates} H"
        raise ShapeError("w_hh does not fit itself", called=called, seen=f"w_hh {w_hh.shape}", rule=f"({letter}, H)")
    return w_hh.shape[1]


def check_states(h: Array, w_hh: Array, gates: int, called: str) -> None:
    """Raise unless h: (T, N, H) and w_hh: (gates * H, H) share H."""
    hidden = check_hidden(w_hh, gates, called)
    if h.ndim != 3 or h.shape[0] == 0 or h.shape[2] != hidden:
        raise ShapeError(
            "h does not fit w_hh", called=called, seen=f"h {h.shape}, w_hh {w_hh.shape}", rule="h: (T, N, H), T >= 1"
        )


def check_gradient(dy: Array, shape: Shape, called: str) -> None:
    """Raise unless the gradient has the shape of the result."""
    if dy.shape != shape:
        raise ShapeError("dh does not have the shape of h", called=called, seen=f"dh {dy.shape}, h {shape}")


def order(steps: int, reverse: bool) -> range:
    """The steps as the forward pass takes them; `[::-1]` is the way back."""
    return range(steps - 1, -1, -1) if reverse else range(steps)


def before(h: Array, h0: Array, reverse: bool) -> Array:
    """The state before each step, (T, N, H), from the states after each and the initial one."""
    first = h0.reshape((1, *h0.shape))
    if len(h) == 1:
        return first
    parts = (h[1:], first) if reverse else (first, h[:-1])
    return operation("concatenate").run("forward", parts, {"dim": 0}, h.shape)


def gradients(
    needs: tuple[bool, ...],
    da: Array,
    ds: Array,
    x: Array | None,
    h: Array,
    h0: Array | None,
    w_ih: Array | None,
    reverse: bool,
) -> tuple[Array | None, ...]:
    """(dx, dw_ih, dw_hh, db_ih, db_hh), each where needed: passes of `linear`, over all steps at once.

    da is the gradient of x @ w_ih^T + b_ih, ds that of h[t-1] @ w_hh^T + b_hh: (T, N, G), often the same array.
    """
    none: Any = None
    dx = linear.grad_input(da, w_ih) if needs[0] else none
    dw_ih = linear.grad_weight(da, x) if needs[1] else none
    dw_hh = linear.grad_weight(ds, before(h, h0, reverse)) if needs[2] else none
    db_ih = linear.grad_bias(da) if needs[3] else none
    db_hh = none
    if needs[4]:
        db_hh = db_ih if ds is da and db_ih is not None else linear.grad_bias(ds)
    return dx, dw_ih, dw_hh, db_ih, db_hh
