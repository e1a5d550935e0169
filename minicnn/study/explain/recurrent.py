"""Recurrent layers: one step of rnn, lstm and gru forward, and the gradient that comes back through time.

Letters as in `minicnn.ops.rnn`: x (T, N, I), h0 (N, H), w_ih (G, I), w_hh (G, H); da is the gradient before the
nonlinearities, which the engine's pass `grad_steps` gives; the gradients of x, weights and biases are sums over it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from minicnn.backends.arrays import moved
from minicnn.ops import gru, lstm, rnn
from minicnn.ops.registry import algorithm
from minicnn.ops.rnn.sequences import before, order
from minicnn.study.explain.asked import Answer, Asked, Explainer, explains
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.notation import Part, at, call, equals, joined, minus, par, plus, power, sum_over, times
from minicnn.study.explain.terms import Block, Column, Index, block, number

KINDS = ("rnn", "lstm", "gru")
GATES = {"rnn": ("",), "lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}


class _Run:
    """What a recurrent step computed, and what went back through time."""

    def __init__(self, asked: Asked) -> None:
        self.asked, self.kind = asked, asked.step.operation.name
        self.reverse = bool(asked.options.get("reverse", False))
        self.hidden = asked.shape("w_hh")[1]
        self.steps = asked.shape("x")[0]

    @cached_property
    def h(self) -> np.ndarray:
        """(T, N, H)"""
        y = self.asked.array("y")
        return y[0] if self.kind == "lstm" else y

    @cached_property
    def gates(self) -> np.ndarray:
        """(T, N, 4H): of an LSTM i, f, g, o; of a GRU r, z, n, u_n."""
        kept = self.asked.step.saved.get("gates")
        if kept is None:
            op = {"lstm": lstm, "gru": gru}[self.kind]
            arrays = [self.asked.array(name) if self.asked.has(name) else None for name in self.asked.step.names]
            kept = op.forward(*arrays, reverse=self.reverse)[1]  # type: ignore[arg-type]
        return moved(kept, "cpu")

    def gate(self, k: int, t: int, n: int, j: int) -> float:
        """One number of block k."""
        return float(self.gates[t, n, k * self.hidden + j])

    @cached_property
    def h_before(self) -> np.ndarray:
        """The state before each step: (T, N, H)."""
        return np.asarray(before(self.h, self.asked.array("h0"), self.reverse))

    @cached_property
    def c_before(self) -> np.ndarray:
        """The cell before each step: (T, N, H)."""
        return np.asarray(before(self.asked.array("y")[1], self.asked.array("c0"), self.reverse))

    @cached_property
    def back(self) -> dict[str, np.ndarray]:
        """da (and for a GRU du): (T, N, G), by the engine."""
        asked, dy = self.asked, self.asked.array("dy")
        w_hh = asked.array("w_hh")
        with algorithm(**asked.step.algorithms):
            if self.kind == "rnn":
                found = rnn.grad_steps(dy, self.h, w_hh, **asked.options)
                return {"da": found[0], "ds": found[0]}
            if self.kind == "lstm":
                y, c0 = asked.array("y"), asked.array("c0")
                da = lstm.grad_steps(dy, y, self.gates, c0, w_hh, reverse=self.reverse)[0]
                return {"da": da, "ds": da}
            da, du, _ = gru.grad_steps(dy, self.h, self.gates, asked.array("h0"), w_hh, reverse=self.reverse)
            return {"da": da, "ds": du}

    @property
    def first(self) -> int:
        """The step that comes first in time."""
        return self.steps - 1 if self.reverse else 0

    def later(self, t: int) -> int | None:
        """The step after t in time."""
        after = t - 1 if self.reverse else t + 1
        return after if 0 <= after < self.steps else None

    def product(self, name: str, t: int, n: int, row: int) -> list[Block]:
        """The terms of x @ w_ih^T + b_ih or h[t-1] @ w_hh^T + b_hh."""
        asked = self.asked
        state = name == "hh"
        many = self.hidden if state else asked.shape("x")[2]
        k = np.arange(many)
        if state:
            left = Column("h_before", self.h_before[t, n].astype(np.float64), _places(t, n, k), "state before the step")
        else:
            left = asked.column("x", t, n, k)
        blocks = [block("state" if state else "input", left, asked.column(f"w_{name}", row, k))]
        if asked.has(f"b_{name}"):
            blocks.append(block(f"b_{name}", asked.column(f"b_{name}", row)))
        return blocks


# ---- forward --------------------------------------------------------------------------------------------------------


@explains("rnn", "y")
def rnn_forward(asked: Asked) -> Answer:
    """h[t] = s(a[t])."""
    run, (t, n, j) = _Run(asked), asked.index
    a = _before_nonlinearity(run, "a", t, n, [*run.product("ih", t, n, j), *run.product("hh", t, n, j)], j)
    name = asked.options.get("nonlinearity", "tanh")
    value = np.tanh(a.total) if name == "tanh" else max(a.total, 0.0)
    general, here = (equals(at("h", *p), call(name, at("a", *p))) for p in (("t", "n", "j"), asked.index))
    one = block("value", number("a", a.total), values=value, form=f"{name}({{0}})")
    return Answer(general, here, [one], _words(asked, t), parts=[a], slack=a.bound)


@explains("lstm", "y")
def lstm_forward(asked: Asked) -> Answer:
    """c[t] = f c[t-1] + i g and h[t] = o tanh(c[t]); the first axis of y says which: 0 is h, 1 is c."""
    run, (which, t, n, j) = _Run(asked), asked.index
    i, f, g, o = (_gate(run, k, t, n, j) for k in range(4))
    place = (t, n, j)
    if which:
        blocks = [
            block("what stays", number("f", f.total), _one("c_before", run.c_before[t, n, j], place)),
            block("what is added", number("i", i.total), number("g", g.total)),
        ]
        general = plus(times("f", at("c", "t−1", "n", "j")), times("i", "g"))
        parts, slack = [f, i, g], abs(float(run.c_before[t, n, j])) * f.bound + i.bound + g.bound
    else:
        cell = float(asked.array("y")[1, t, n, j])
        value = o.total * np.tanh(cell)
        blocks = [block("value", number("o", o.total), _one("c", cell, place), values=value, form="{0} · tanh({1})")]
        general = times("o", call("tanh", at("c", "t", "n", "j")))
        parts, slack = [o], o.bound
    name = "c" if which else "h"
    left, filled = equals(at(name, "t", "n", "j"), general), equals(at(name, *place), general)
    return Answer(left, filled, blocks, _words(asked, t), ["y[0] is h, y[1] is c"], parts, slack=slack)


@explains("gru", "y")
def gru_forward(asked: Asked) -> Answer:
    """h[t] = (1 - z) n + z h[t-1]."""
    run, (t, n, j) = _Run(asked), asked.index
    z, new = _gate(run, 1, t, n, j), _gate(run, 2, t, n, j)
    old = _one("h_before", run.h_before[t, n, j], asked.index)
    blocks = [
        block("what is new", number("(1 − z)", 1 - z.total), number("n", new.total), magnitude=abs(new.total)),
        block("what stays", number("z", z.total), old),
    ]
    general, here = (
        equals(at("h", *p), plus(times(par(minus("1", "z")), "n"), times("z", at("h", *q))))
        for p, q in ((("t", "n", "j"), ("t−1", "n", "j")), (asked.index, ("before", n, j)))
    )
    slack = z.bound * (abs(new.total) + abs(float(run.h_before[t, n, j]))) + new.bound
    return Answer(general, here, blocks, _words(asked, t), parts=[z, new], slack=slack)


def _gate(run: _Run, k: int, t: int, n: int, j: int) -> Explanation:
    """A gate: sigmoid or tanh of the two products."""
    name, row = GATES[run.kind][k], k * run.hidden + j
    tanh = name in ("g", "n")
    blocks = [*run.product("ih", t, n, row), *run.product("hh", t, n, row)]
    parts, slack = [], 0.0
    if run.kind == "gru" and name == "n":  # the reset gate acts on the product of the state
        r = _gate(run, 0, t, n, j)
        inner = _before_nonlinearity(run, "u_n", t, n, run.product("hh", t, n, row), j, run.gate(3, t, n, j))
        blocks = [*run.product("ih", t, n, row), block("state", number("r", r.total), number("u_n", inner.total))]
        parts, slack = [r, inner], abs(inner.total) * r.bound + inner.bound
    a = _before_nonlinearity(run, f"a_{name}", t, n, blocks, j, slack=slack)
    value = np.tanh(a.total) if tanh else 1 / (1 + np.exp(-a.total))
    function = "tanh" if tanh else "sigmoid"
    one = block("value", number(f"a_{name}", a.total), values=value, form=f"{function}({{0}})")
    general = equals(name, call(function, f"a_{name}"))
    answer = Answer(general, general, [one], parts=[a, *parts], slack=a.bound)
    return run.asked.part(name, (t, n, j), answer, run.gate(k, t, n, j))


def _before_nonlinearity(
    run: _Run, name: str, t: int, n: int, blocks: list[Block], j: int, engine: float | None = None, slack: float = 0.0
) -> Explanation:
    """a = x w_ih^T + b_ih + h[t-1] w_hh^T + b_hh as an explanation."""
    inputs = plus(sum_over("i", times(at("x", "t", "n", "i"), at("w_ih", "j", "i"))), at("b_ih", "j"))
    states = plus(sum_over("k", times(at("h", "t−1", "n", "k"), at("w_hh", "j", "k"))), at("b_hh", "j"))
    right = states if name == "u_n" else plus(inputs, times("r", "u_n")) if name == "a_n" else plus(inputs, states)
    answer = Answer(equals(at(name, "t", "n", "j"), right), equals(at(name, t, n, j), right), blocks, slack=slack)
    return run.asked.part(name, (t, n, j), answer, engine)


# ---- gradients that are sums over da --------------------------------------------------------------------------------


def _input_gradient(asked: Asked) -> Answer:
    """dx[t,n,i] = sum_j da[t,n,j] w_ih[j,i]."""
    run, (t, n, i) = _Run(asked), asked.index
    j = np.arange(asked.shape("w_ih")[0])
    da = _da(run, "da", t, n, j)
    general, here = (
        equals(at("dx", *p), sum_over("j", times(at("da", *p[:2], "j"), at("w_ih", "j", p[2]))))
        for p in (("t", "n", "i"), asked.index)
    )
    return Answer(
        general, here, [block("gates", da, asked.column("w_ih", j, i))], _words(asked, t), parts=_largest(run, "da", da)
    )


def _weight_gradient(asked: Asked) -> Answer:
    """dw_ih[j,i] = sum_{t,n} da[t,n,j] x[t,n,i]; dw_hh[j,k] with the state before the step in the place of x."""
    run, (j, i) = _Run(asked), asked.index
    state = asked.quantity == "grad w_hh"
    t, n = (axis.ravel() for axis in np.indices(asked.shape("x")[:2]))
    name = "ds" if state else "da"
    da = _da(run, name, t, n, j)
    if state:
        other = Column("h_before", run.h_before[t, n, i].astype(np.float64), _places(t, n, i), "state before the step")
    else:
        other = asked.column("x", t, n, i)
    letter = at("h", "t−1", "n", "k") if state else at("x", "t", "n", "i")
    general = sum_over("t,n", times(at("da", "t", "n", "j"), letter))
    left = "dw_hh" if state else "dw_ih"
    return Answer(
        equals(at(left, "j", "i"), general),
        equals(at(left, *asked.index), general),
        [block("steps that used this weight", da, other)],
        words=f"{asked.source(asked.quantity[5:])} is used at each of {run.steps} steps of each sequence: the sum over "
        "time",
        parts=_largest(run, name, da),
    )


def _bias_gradient(asked: Asked) -> Answer:
    """db[j] = sum_{t,n} da[t,n,j]."""
    run, (j,) = _Run(asked), asked.index
    t, n = (axis.ravel() for axis in np.indices(asked.shape("x")[:2]))
    name = "ds" if asked.quantity == "grad b_hh" else "da"
    da = _da(run, name, t, n, j)
    general, left = sum_over("t,n", at("da", "t", "n", "j")), f"d{asked.quantity[5:]}"
    words = f"{asked.source(asked.quantity[5:])} is added at each of {run.steps} steps of each sequence"
    return Answer(
        equals(at(left, "j"), general),
        equals(at(left, j), general),
        [block("steps", da)],
        words,
        parts=_largest(run, name, da),
    )


def _first_state_gradient(asked: Asked) -> Answer:
    """dh0[n,k] = sum_j da[first,n,j] w_hh[j,k]; of a GRU also what the update gate let pass."""
    run, (n, k) = _Run(asked), asked.index
    j = np.arange(asked.shape("w_hh")[0])
    da = _da(run, "ds", run.first, n, j)
    blocks = [block("gates of the first step", da, asked.column("w_hh", j, k))]
    general = sum_over("j", times(at("da", "first", "n", "j"), at("w_hh", "j", "k")))
    parts, slack = _largest(run, "ds", da), 0.0
    if run.kind == "gru":
        d = _state_gradient(run, run.first, n, k)
        z = run.gate(1, run.first, n, k)
        blocks.append(block("kept by the update gate", number("Dh", d.total), number("z", z)))
        general = plus(general, times(at("Dh", "first"), at("z", "first")))
        parts, slack = [*parts, d], abs(z) * d.bound
    left = equals(at("dh0", "n", "k"), general)
    words = "what goes back to before the first step"
    return Answer(left, equals(at("dh0", n, k), general), blocks, words, parts=parts, slack=slack)


@explains("lstm", "grad c0")
def first_cell_gradient(asked: Asked) -> Answer:
    """dc0 = Dc[first] f[first]."""
    run, (n, j) = _Run(asked), asked.index
    d, f = _cell_gradient(run, run.first, n, j), run.gate(1, run.first, n, j)
    general = times(at("Dc", "first"), at("f", "first"))
    return Answer(
        equals(at("dc0", "n", "j"), general),
        equals(at("dc0", n, j), general),
        [block("kept by the forget gate", number("Dc", d.total), number("f", f))],
        "what goes back to before the first step",
        parts=[d],
        slack=abs(f) * d.bound,
    )


for _kind in KINDS:
    _table: dict[str, Explainer] = {
        "grad x": _input_gradient,
        "grad h0": _first_state_gradient,
        "grad w_ih": _weight_gradient,
        "grad w_hh": _weight_gradient,
        "grad b_ih": _bias_gradient,
        "grad b_hh": _bias_gradient,
    }
    for _quantity, _explainer in _table.items():
        explains(_kind, _quantity)(_explainer)


# ---- through time ---------------------------------------------------------------------------------------------------


def _da(run: _Run, name: str, t: Any, n: Any, j: Any) -> Column:
    values = run.back[name][t, n, j].astype(np.float64)
    return Column(
        "da" if name == "da" else "du" if run.kind == "gru" else "da", values, _places(t, n, j), "through time"
    )


def _largest(run: _Run, name: str, da: Column) -> list[Explanation]:
    """The largest da, explained."""
    if name == "ds" and run.kind == "gru":
        return []
    t, n, row = (int(i) for i in da.index[int(np.argmax(np.abs(da.values)))])
    return [_da_part(run, t, n, row)]


def _da_part(run: _Run, t: int, n: int, row: int) -> Explanation:
    """da[t,n,row]: the gradient at the state, times the slope of what lies between."""
    gate, j = divmod(row, run.hidden)
    engine = float(run.back["da"][t, n, row])
    if run.kind == "rnn":
        d, y = _state_gradient(run, t, n, j), float(run.h[t, n, j])
        tanh = run.asked.options.get("nonlinearity", "tanh") == "tanh"
        slope, formula = (1 - y * y, par(minus("1", power(at("h", "t"), "2")))) if tanh else (float(y > 0), "[h > 0]")
        columns, names = [number("Dh", d.total), number("s'(a)", slope)], times("Dh", formula)
        slack, size = d.bound * abs(slope), abs(d.total)
    elif run.kind == "lstm":
        values = [run.gate(k, t, n, j) for k in range(4)]
        cell, earlier = float(run.asked.array("y")[1, t, n, j]), float(run.c_before[t, n, j])
        d = _state_gradient(run, t, n, j) if gate == 3 else _cell_gradient(run, t, n, j)
        partner = (values[2], earlier, values[0], float(np.tanh(cell)))[gate]
        own = values[gate]
        slope = 1 - own**2 if gate == 2 else own * (1 - own)
        what = ("g", "c_before", "i", "tanh(c)")[gate]
        columns = [number(d.symbol, d.total), number(what, partner), number("slope of the gate", slope)]
        names = times(d.symbol, what, "slope of the gate")
        slack, size = d.bound * abs(partner * slope), abs(d.total * partner)
    else:
        r, z, new, u_n = (run.gate(k, t, n, j) for k in range(4))
        d, earlier = _state_gradient(run, t, n, j), float(run.h_before[t, n, j])
        to_n = (1 - z) * (1 - new**2)
        slope = (to_n * u_n * r * (1 - r), (earlier - new) * z * (1 - z), to_n)[gate]
        size = abs(d.total) * (abs(u_n), abs(earlier) + abs(new), 1.0)[gate]
        columns, names = [number("Dh", d.total), number("slope", slope)], times("Dh", "slope")
        slack = d.bound * abs(slope)
    name = f"da_{GATES[run.kind][gate]}".rstrip("_")
    one = block("chain rule", *columns, magnitude=size)
    answer = Answer(
        equals(at(name, "t", "n", "j"), names), equals(at(name, t, n, j), names), [one], parts=[d], slack=slack
    )
    return run.asked.part("da", (t, n, row), answer, engine)


def _state_gradient(run: _Run, t: int, n: int, j: int) -> Explanation:
    """Dh[t,n,j]: from above, and from the next step."""
    dy = run.asked.array("dy")
    above = dy[0] if run.kind == "lstm" else dy
    blocks = [block("from above", _one("dh", above[t, n, j], (t, n, j)))]
    general, later, slack = at("dh", "t", "n", "j"), run.later(t), 0.0
    if later is not None:
        k = np.arange(run.asked.shape("w_hh")[0])
        blocks.append(block("from the next step", _da(run, "ds", later, n, k), run.asked.column("w_hh", k, j)))
        general = plus(general, sum_over("k", times(at("da", "t+1", "n", "k"), at("w_hh", "k", "j"))))
        if run.kind == "gru":
            d = float(_carried(run, "h")[later, n, j])
            z = run.gate(1, later, n, j)
            blocks.append(block("kept by the next update gate", number("Dh[t+1]", d), number("z[t+1]", z)))
            general = plus(general, times(at("Dh", "t+1"), at("z", "t+1")))
            slack = abs(d) * 64 * float(np.finfo(run.asked.dtype).eps)
    name = at("Dh", "t", "n", "j")
    answer = Answer(equals(name, general), equals(at("Dh", t, n, j), general), blocks, slack=slack)
    return run.asked.part("Dh", (t, n, j), answer)


def _cell_gradient(run: _Run, t: int, n: int, j: int) -> Explanation:
    """Dc[t,n,j] of an LSTM: from above, from the next step's cell, and through h."""
    d = _state_gradient(run, t, n, j)
    o, cell = run.gate(3, t, n, j), float(run.asked.array("y")[1, t, n, j])
    slope = o * (1 - float(np.tanh(cell)) ** 2)
    blocks = [
        block("from above", _one("dc", run.asked.array("dy")[1, t, n, j], (t, n, j))),
        block("through h", number("Dh", d.total), number("o (1 − tanh²c)", slope), magnitude=abs(d.total * o)),
    ]
    later, slack = run.later(t), d.bound * abs(slope)
    if later is not None:
        carried, f = float(_carried(run, "c")[later, n, j]), run.gate(1, later, n, j)
        blocks.append(block("from the next step", number("Dc[t+1]", carried), number("f[t+1]", f)))
        slack += abs(carried) * 64 * float(np.finfo(run.asked.dtype).eps)
    general = joined(" + ", at("dc", "t"), times(at("Dc", "t+1"), at("f", "t+1")), times("Dh", "o (1 − tanh²c)"))
    left: tuple[Part, ...] = ("t", "n", "j")
    answer = Answer(
        equals(at("Dc", *left), general), equals(at("Dc", t, n, j), general), blocks, parts=[d], slack=slack
    )
    return run.asked.part("Dc", (t, n, j), answer)


def _carried(run: _Run, what: str) -> np.ndarray:
    """Dh of a GRU or Dc of an LSTM of all steps, in float64, from the engine's da."""
    dy, w_hh = run.asked.array("dy").astype(np.float64), run.asked.array("w_hh").astype(np.float64)
    ds, width = run.back["ds"].astype(np.float64), run.hidden
    result, found = np.zeros(run.h.shape), np.zeros(run.h.shape[1:])
    later = None
    for t in order(run.steps, run.reverse)[::-1]:
        above = dy[0, t] if run.kind == "lstm" else dy[t]
        d = above + (0.0 if later is None else ds[later] @ w_hh)
        if what == "h":
            z = 0.0 if later is None else run.gates[later, :, width : 2 * width]
            found = d + found * z
        else:
            f = 0.0 if later is None else run.gates[later, :, width : 2 * width]
            o, cell = run.gates[t, :, 3 * width :], run.asked.array("y")[1, t]
            found = dy[1, t] + found * f + d * o * (1 - np.tanh(cell.astype(np.float64)) ** 2)
        result[t], later = found, t
    return result


def _one(name: str, value: Any, index: Index) -> Column:
    return Column(name, np.array([float(value)]), np.array([index]))


def _places(*places: Any) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*(np.atleast_1d(place) for place in places)), axis=-1).astype(np.int64)


def _words(asked: Asked, t: int) -> str:
    return f"step {t} of {asked.shape('x')[0]}; x: {asked.source('x')} {asked.shape('x')}"
