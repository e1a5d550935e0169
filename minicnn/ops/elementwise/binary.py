"""The passes of add, sub, mul and div: two operands, with NumPy's broadcasting.

`a` and `b` are float arrays of one dtype whose shapes broadcast; `y` and `dy` have the common shape. `<name>_grad_a`
and `<name>_grad_b` give the gradients, in the shapes of a and b.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends.arrays import Array, check_arrays, is_array
from minicnn.errors import DTypeError
from minicnn.ops.axes import Shape, broadcast_shape, check_gradient
from minicnn.ops.registry import Operation

Saved = dict[str, Any]


def run(op: Operation, pass_name: str, arrays: tuple[Array, ...], options: dict[str, Any], shape: Shape) -> Array:
    """Run one pass: infinity and NaN come without a warning, and a single number comes as an array without axes."""
    with np.errstate(all="ignore"):
        y = op.run(pass_name, arrays, options, shape)
    return y if is_array(y) else np.asarray(y)


def _forward(op: Operation, a: Array, b: Array) -> Array:
    if a is None or b is None:
        raise DTypeError("an operand is missing", called=op.name, seen="None", rule="two arrays")
    check_arrays(op.name, a=a, b=b)
    return run(op, "forward", (a, b), {}, broadcast_shape(op.name, a=a.shape, b=b.shape))


def _gradient(
    op: Operation,
    side: str,
    dy: Array,
    others: dict[str, Array],
    options: dict[str, Shape],
    a_shape: Shape,
    b_shape: Shape,
) -> Array:
    """The gradient of `a` or `b` (`side`): checks that dy has the shape of y, then runs the pass."""
    called = f"{op.name}.grad_{side}"
    check_arrays(called, dy=dy, **others)
    check_gradient(dy, broadcast_shape(called, a=a_shape, b=b_shape), called)
    return run(op, f"grad_{side}", (dy, *others.values()), options, a_shape if side == "a" else b_shape)


# ---- add ------------------------------------------------------------------------------------------------------------


def add_forward(a: Array, b: Array) -> Array:
    """y = a + b."""
    return _forward(ADD, a, b)


def add_grad_a(dy: Array, a_shape: Shape) -> Array:
    """da = dy, summed over the axes along which a, of shape `a_shape`, was repeated."""
    return _gradient(ADD, "a", dy, {}, {"a_shape": tuple(a_shape)}, tuple(a_shape), np.shape(dy))


def add_grad_b(dy: Array, b_shape: Shape) -> Array:
    """db = dy, summed over the axes along which b, of shape `b_shape`, was repeated."""
    return _gradient(ADD, "b", dy, {}, {"b_shape": tuple(b_shape)}, np.shape(dy), tuple(b_shape))


def _keep_shapes(_: tuple[bool, ...], a: Array, b: Array) -> Saved:
    return {"a_shape": a.shape, "b_shape": b.shape, "options": {}}


def _add_record(needs: tuple[bool, ...], a: Array, b: Array) -> tuple[Array, Saved]:
    return add_forward(a, b), _keep_shapes(needs, a, b)


def _add_backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
    da = add_grad_a(dy, saved["a_shape"]) if needs[0] else None
    db = add_grad_b(dy, saved["b_shape"]) if needs[1] else None
    return da, db


# ---- sub ------------------------------------------------------------------------------------------------------------


def sub_forward(a: Array, b: Array) -> Array:
    """y = a - b."""
    return _forward(SUB, a, b)


def sub_grad_a(dy: Array, a_shape: Shape) -> Array:
    """da = dy, summed over the axes along which a, of shape `a_shape`, was repeated."""
    return _gradient(SUB, "a", dy, {}, {"a_shape": tuple(a_shape)}, tuple(a_shape), np.shape(dy))


def sub_grad_b(dy: Array, b_shape: Shape) -> Array:
    """db = -dy, summed over the axes along which b, of shape `b_shape`, was repeated."""
    return _gradient(SUB, "b", dy, {}, {"b_shape": tuple(b_shape)}, np.shape(dy), tuple(b_shape))


def _sub_record(needs: tuple[bool, ...], a: Array, b: Array) -> tuple[Array, Saved]:
    return sub_forward(a, b), _keep_shapes(needs, a, b)


def _sub_backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
    da = sub_grad_a(dy, saved["a_shape"]) if needs[0] else None
    db = sub_grad_b(dy, saved["b_shape"]) if needs[1] else None
    return da, db


# ---- mul ------------------------------------------------------------------------------------------------------------


def mul_forward(a: Array, b: Array) -> Array:
    """y = a b."""
    return _forward(MUL, a, b)


def mul_grad_a(dy: Array, b: Array, a_shape: Shape) -> Array:
    """da = dy b, summed over the axes along which a, of shape `a_shape`, was repeated."""
    return _gradient(MUL, "a", dy, {"b": b}, {"a_shape": tuple(a_shape)}, tuple(a_shape), np.shape(b))


def mul_grad_b(dy: Array, a: Array, b_shape: Shape) -> Array:
    """db = dy a, summed over the axes along which b, of shape `b_shape`, was repeated."""
    return _gradient(MUL, "b", dy, {"a": a}, {"b_shape": tuple(b_shape)}, np.shape(a), tuple(b_shape))


def _mul_record(needs: tuple[bool, ...], a: Array, b: Array) -> tuple[Array, Saved]:
    saved = {"a": a if needs[1] else None, "b": b if needs[0] else None}
    return mul_forward(a, b), {**saved, **_keep_shapes(needs, a, b)}


def _mul_backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
    da = mul_grad_a(dy, saved["b"], saved["a_shape"]) if needs[0] else None
    db = mul_grad_b(dy, saved["a"], saved["b_shape"]) if needs[1] else None
    return da, db


# ---- div ------------------------------------------------------------------------------------------------------------


def div_forward(a: Array, b: Array) -> Array:
    """y = a / b; infinity or NaN where b is zero."""
    return _forward(DIV, a, b)


def div_grad_a(dy: Array, b: Array, a_shape: Shape) -> Array:
    """da = dy / b, summed over the axes along which a, of shape `a_shape`, was repeated."""
    return _gradient(DIV, "a", dy, {"b": b}, {"a_shape": tuple(a_shape)}, tuple(a_shape), np.shape(b))


def div_grad_b(dy: Array, a: Array, b: Array) -> Array:
    """db = -dy (a / b) / b, summed over the axes along which b was repeated."""
    return _gradient(DIV, "b", dy, {"a": a, "b": b}, {}, np.shape(a), np.shape(b))


def _div_record(needs: tuple[bool, ...], a: Array, b: Array) -> tuple[Array, Saved]:
    saved = {"a": a if needs[1] else None, "b": b if any(needs) else None}
    return div_forward(a, b), {**saved, **_keep_shapes(needs, a, b)}


def _div_backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
    da = div_grad_a(dy, saved["b"], saved["a_shape"]) if needs[0] else None
    db = div_grad_b(dy, saved["a"], saved["b"]) if needs[1] else None
    return da, db


def _operation(
    name: str, formula: str, record: Any, backward: Any, algorithms: tuple[str, ...] = ("formula", "loops")
) -> Operation:
    return Operation(
        name=name,
        formula=formula,
        inputs=("a", "b"),
        record=record,
        backward=backward,
        passes=("forward", "grad_a", "grad_b"),
        algorithms=algorithms,
        cuda=("cuda",),
        package="minicnn.ops.elementwise",
        prefix=f"{name}_",
    )


ADD = _operation("add", r"y = a + b", _add_record, _add_backward, ("vector", "formula", "loops"))
SUB = _operation("sub", r"y = a - b", _sub_record, _sub_backward)
MUL = _operation("mul", r"y = a\, b", _mul_record, _mul_backward)
DIV = _operation("div", r"y = \frac{a}{b}", _div_record, _div_backward)
