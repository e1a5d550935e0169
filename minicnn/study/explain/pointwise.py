"""Functions of one number: relu, sigmoid, tanh, exp, log, pow; and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.backends.arrays import moved
from minicnn.ops.dropout import scale
from minicnn.study.explain.asked import Answer, Asked, Explainer, explains
from minicnn.study.explain.notation import (
    Math,
    Part,
    at,
    bracket,
    call,
    equals,
    frac,
    joined,
    minus,
    par,
    plus,
    power,
    prefixed,
    times,
)
from minicnn.study.explain.terms import block, number

I = "i"  # noqa: E741 (the letter that formulas use)


@explains("relu", "y")
def relu(asked: Asked) -> Answer:
    """y = max(x, 0)."""
    x = asked.one("x", asked.index)
    y = float(x.values[0]) if not x.values[0] <= 0 else 0.0
    note = "passes" if y else "cut to 0"
    one = block("value", x, values=y, form="max({0}, 0)", notes=[note])
    general, here = (equals(at("y", *p), call("max", at("x", *p), "0")) for p in _places(asked))
    return Answer(general, here, [one], words=_from(asked))


@explains("relu", "grad x")
def relu_gradient(asked: Asked) -> Answer:
    """dx = dy where y > 0."""
    dy, y = asked.one("dy", asked.index), asked.value("y", asked.index)
    open_gate = not y <= 0
    gate = number("[y > 0]", float(open_gate))
    note = "the gate is open: y > 0" if open_gate else "the gate is shut: y = 0"
    one = block("gate", dy, gate, values=dy.values if open_gate else 0.0, notes=[note])
    general, here = (equals(at("dx", *p), times(at("dy", *p), gate_of(p))) for p in _places(asked))
    return Answer(general, here, [one], words=_from(asked), notes=[f"y{asked.at} = {y:.6g}"])


def gate_of(places: tuple[Part, ...]) -> Math:
    """[y > 0]: 1 where it holds, else 0 (Iverson's bracket)."""
    return bracket(joined(" > ", at("y", *places), "0"))


def _forward(name: str, function: Any, form: str, formula: Any) -> Explainer:
    """The explainer of y = function(x)."""

    def explain(asked: Asked) -> Answer:
        x = asked.one("x", asked.index)
        with np.errstate(all="ignore"):
            y = function(x.values, **asked.options)
        one = block("value", x, values=y, form=form.format("{0}", **asked.options), magnitude=_size(name, x.values, y))
        general, here = (equals(at("y", *p), formula(at("x", *p), **asked.options)) for p in _places(asked))
        return Answer(general, here, [one], words=_from(asked))

    return explain


def _size(name: str, x: np.ndarray, y: np.ndarray) -> float:
    """What rounding is relative to: e^x is as uncertain as x times itself in the arithmetic of some machines."""
    size = float(np.abs(y[0]))
    return size * (1 + float(np.abs(x[0])) / 16) if name == "exp" and np.isfinite(x[0]) else size


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + small), small / (1 + small)))


explains("sigmoid", "y")(
    _forward("sigmoid", _sigmoid, "sigmoid({0})", lambda x: frac("1", plus("1", power("e", prefixed("−", x)))))
)
explains("tanh", "y")(_forward("tanh", np.tanh, "tanh({0})", lambda x: call("tanh", x)))
explains("exp", "y")(_forward("exp", np.exp, "exp({0})", lambda x: power("e", x)))
explains("log", "y")(_forward("log", np.log, "ln({0})", lambda x: call("ln", x)))
explains("pow", "y")(
    _forward("pow", lambda x, exponent: x**exponent, "{0}^{exponent}", lambda x, exponent: power(x, float(exponent)))
)


@explains("sigmoid", "grad x")
def sigmoid_gradient(asked: Asked) -> Answer:
    """dx = dy y (1 - y)."""
    dy, y = asked.one("dy", asked.index), asked.one("y", asked.index)
    one = block("chain rule", dy, y, number("(1 − y)", 1 - float(y.values[0])))
    general, here = (
        equals(at("dx", *p), times(at("dy", *p), at("y", *p), par(minus("1", at("y", *p))))) for p in _places(asked)
    )
    unit = float(np.abs(dy.values * y.values)[0])  # 1 - y is rounded as 1 is
    return Answer(general, here, [one], words=_from(asked), magnitude=unit)


@explains("tanh", "grad x")
def tanh_gradient(asked: Asked) -> Answer:
    """dx = dy (1 - y^2)."""
    dy, y = asked.one("dy", asked.index), asked.value("y", asked.index)
    one = block("chain rule", dy, number("(1 − y²)", 1 - y * y))
    general, here = (
        equals(at("dx", *p), times(at("dy", *p), par(minus("1", power(at("y", *p), "2"))))) for p in _places(asked)
    )
    return Answer(general, here, [one], words=_from(asked), magnitude=float(np.abs(dy.values[0])))


@explains("exp", "grad x")
def exp_gradient(asked: Asked) -> Answer:
    """dx = dy y."""
    one = block("chain rule", asked.one("dy", asked.index), asked.one("y", asked.index))
    general, here = (equals(at("dx", *p), times(at("dy", *p), at("y", *p))) for p in _places(asked))
    return Answer(general, here, [one], words=_from(asked))


@explains("log", "grad x")
def log_gradient(asked: Asked) -> Answer:
    """dx = dy / x."""
    dy, x = asked.one("dy", asked.index), asked.one("x", asked.index)
    with np.errstate(all="ignore"):
        one = block("chain rule", dy, x, values=dy.values / x.values, form="{0} / {1}")
    general, here = (equals(at("dx", *p), frac(at("dy", *p), at("x", *p))) for p in _places(asked))
    return Answer(general, here, [one], words=_from(asked))


@explains("pow", "grad x")
def pow_gradient(asked: Asked) -> Answer:
    """dx = dy e x^(e-1); 0 for e = 0."""
    dy, x, e = asked.one("dy", asked.index), asked.one("x", asked.index), float(asked.options["exponent"])
    with np.errstate(all="ignore"):
        value = dy.values * e * x.values ** (e - 1) if e else np.zeros(1)
    one = block("chain rule", dy, number("e", e), x, values=value, form=f"{{0}} · {e:g} · {{2}}^{e - 1:g}")
    general, here = (equals(at("dx", *p), times(at("dy", *p), e, power(at("x", *p), e - 1))) for p in _places(asked))
    return Answer(general, here, [one], words=_from(asked))


@explains("dropout", "y", "grad x")
def dropout(asked: Asked) -> Answer:
    """y = x m / (1 - p): the mask says what is kept; and the same for the gradient."""
    name, result = ("x", "y") if asked.quantity == "y" else ("dy", "dx")
    keep, p = bool(moved(asked.options["mask"], "cpu")[asked.index]), float(asked.options["p"])
    x = asked.one(name, asked.index)
    factor = number("m / (1 − p)", keep * scale(p))
    one = block("value", x, factor, notes=["kept" if keep else "dropped"])
    general, here = (
        equals(at(result, *places), times(frac(at("m", *places), minus("1", "p")), at(name, *places)))
        for places in _places(asked)
    )
    return Answer(general, here, [one], words=_from(asked), notes=[f"m = {int(keep)}, p = {p:g}"])


def _places(asked: Asked) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """The index as a letter, and as it is."""
    return (I,), asked.index


def _from(asked: Asked) -> str:
    return f"x: {asked.source('x')} {asked.shape('x')}, the same place"
