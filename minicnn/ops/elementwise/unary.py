"""The passes of pow, exp, log, sigmoid and tanh: functions of one variable.

`x`, `y` and `dy` are float arrays of one shape and dtype. `<name>_grad_input` gives dx, from `x` or from `y`, whichever
the formula of the gradient names.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

from minicnn.backends.arrays import Array, check_arrays
from minicnn.errors import ArgumentError
from minicnn.ops.axes import check_gradient
from minicnn.ops.elementwise.binary import Saved, run
from minicnn.ops.registry import Operation


def _forward(op: Operation, x: Array, **options: Any) -> Array:
    check_arrays(op.name, x=x)
    return run(op, "forward", (x,), options, x.shape)


def _gradient(op: Operation, dy: Array, name: str, kept: Array, **options: Any) -> Array:
    """dx from dy and the `kept` x or y (`name`)."""
    called = f"{op.name}.grad_input"
    check_arrays(called, **{"dy": dy, name: kept})
    check_gradient(dy, kept.shape, called)
    return run(op, "grad_input", (dy, kept), options, kept.shape)


# ---- pow ------------------------------------------------------------------------------------------------------------


def pow_forward(x: Array, *, exponent: float) -> Array:
    """y = x^exponent; a number, not an array, is the exponent."""
    return _forward(POW, x, exponent=_number(exponent))


def pow_grad_input(dy: Array, x: Array, *, exponent: float) -> Array:
    """dx = dy exponent x^(exponent - 1); 0 for exponent 0."""
    return _gradient(POW, dy, "x", x, exponent=_number(exponent))


def _number(exponent: Any) -> float:
    if isinstance(exponent, bool) or not isinstance(exponent, numbers.Real):
        raise ArgumentError(
            "the exponent is not a number",
            called="pow",
            seen=type(exponent).__name__,
            rule="x ** number",
            hint="for x ** y use (y * x.log()).exp()",
        )
    return float(exponent)


# ---- exp, log, sigmoid, tanh ----------------------------------------------------------------------------------------


def exp_forward(x: Array) -> Array:
    """y = e^x."""
    return _forward(EXP, x)


def exp_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy y."""
    return _gradient(EXP, dy, "y", y)


def log_forward(x: Array) -> Array:
    """y = ln x, the natural logarithm; minus infinity at 0, NaN below."""
    return _forward(LOG, x)


def log_grad_input(dy: Array, x: Array) -> Array:
    """dx = dy / x."""
    return _gradient(LOG, dy, "x", x)


def sigmoid_forward(x: Array) -> Array:
    """y = 1 / (1 + e^-x), without overflow."""
    return _forward(SIGMOID, x)


def sigmoid_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy y (1 - y)."""
    return _gradient(SIGMOID, dy, "y", y)


def tanh_forward(x: Array) -> Array:
    """y = tanh x, the hyperbolic tangent."""
    return _forward(TANH, x)


def tanh_grad_input(dy: Array, y: Array) -> Array:
    """dx = dy (1 - y^2)."""
    return _gradient(TANH, dy, "y", y)


def _operation(
    name: str, formula: str, keeps: str, forward: Callable[..., Array], grad_input: Callable[..., Array], preferred: str
) -> Operation:
    """The operation, recorded with `x` or `y` (`keeps`) saved for its gradient."""

    def record(needs: tuple[bool, ...], x: Array, **options: Any) -> tuple[Array, Saved]:
        y = forward(x, **options)
        kept = (x if keeps == "x" else y) if needs[0] else None
        return y, {keeps: kept, "options": options}

    def backward(needs: tuple[bool, ...], saved: Saved, dy: Array) -> tuple[Array | None, ...]:
        return (grad_input(dy, saved[keeps], **saved["options"]) if needs[0] else None,)

    return Operation(
        name=name,
        formula=formula,
        inputs=("x",),
        record=record,
        backward=backward,
        passes=("forward", "grad_input"),
        algorithms=(preferred, "loops" if preferred == "formula" else "formula"),
        cuda=("cuda",),
        package="minicnn.ops.elementwise",
        prefix=f"{name}_",
    )


POW = _operation("pow", r"y = x^e", "x", pow_forward, pow_grad_input, "formula")
EXP = _operation("exp", r"y = e^x", "y", exp_forward, exp_grad_input, "formula")
LOG = _operation("log", r"y = \ln x", "x", log_forward, log_grad_input, "formula")
SIGMOID = _operation("sigmoid", r"y = \frac{1}{1 + e^{-x}}", "y", sigmoid_forward, sigmoid_grad_input, "loops")
TANH = _operation("tanh", r"y = \tanh x", "y", tanh_forward, tanh_grad_input, "formula")
