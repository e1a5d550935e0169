"""Recurrent layers backward: the gradient that comes back through time, and the sums over it.

da is the gradient before the nonlinearities (du that of a GRU's product of the state), which the engine's pass
`grad_steps` gives; the gradients of x, weights and biases are sums over it. How one da came about is explained as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.ops.rnn.sequences import order
from minicnn.study.explain.asked import Answer, Asked, Explainer, explains
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.notation import Part, at, equals, joined, minus, par, plus, power, sum_over, times
from minicnn.study.explain.recurrent_run import GATES, KINDS, RecurrentRun, one_number, places_of, step_words
from minicnn.study.explain.terms import Column, block, number


def _input_gradient(asked: Asked) -> Answer:
    """dx[t,n,i] = sum_j da[t,n,j] w_ih[j,i]."""
    run, (t, n, i) = RecurrentRun(asked), asked.index
    j = np.arange(asked.shape("w_ih")[0])
    da = _da(run, "da", t, n, j)
    general, here = (
        equals(at("dx", *p), sum_over("j", times(at("da", *p[:2], "j"), at("w_ih", "j", p[2]))))
        for p in (("t", "n", "i"), asked.index)
    )
    return Answer(
        general,
        here,
        [block("gates", da, asked.column("w_ih", j, i))],
        step_words(asked, t),
        parts=_largest(run, "da", da),
    )


def _weight_gradient(asked: Asked) -> Answer:
    """dw_ih[j,i] = sum_{t,n} da[t,n,j] x[t,n,i]; dw_hh[j,k] with the state before the step in the place of x."""
    run, (j, i) = RecurrentRun(asked), asked.index
    state = asked.quantity == "grad w_hh"
    t, n = (axis.ravel() for axis in np.indices(asked.shape("x")[:2]))
    name = "ds" if state else "da"
    da = _da(run, name, t, n, j)
    if state:
        other = Column(
            "h_before", run.h_before[t, n, i].astype(np.float64), places_of(t, n, i), "state before the step"
        )
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
    run, (j,) = RecurrentRun(asked), asked.index
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
    run, (n, k) = RecurrentRun(asked), asked.index
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
    run, (n, j) = RecurrentRun(asked), asked.index
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


def _da(run: RecurrentRun, name: str, t: Any, n: Any, j: Any) -> Column:
    values = run.back[name][t, n, j].astype(np.float64)
    return Column(
        "da" if name == "da" else "du" if run.kind == "gru" else "da", values, places_of(t, n, j), "through time"
    )


def _largest(run: RecurrentRun, name: str, da: Column) -> list[Explanation]:
    """The largest da, explained."""
    if name == "ds" and run.kind == "gru":
        return []
    t, n, row = (int(i) for i in da.index[int(np.argmax(np.abs(da.values)))])
    return [_da_part(run, t, n, row)]


def _da_part(run: RecurrentRun, t: int, n: int, row: int) -> Explanation:
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


def _state_gradient(run: RecurrentRun, t: int, n: int, j: int) -> Explanation:
    """Dh[t,n,j]: from above, and from the next step."""
    dy = run.asked.array("dy")
    above = dy[0] if run.kind == "lstm" else dy
    blocks = [block("from above", one_number("dh", above[t, n, j], (t, n, j)))]
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


def _cell_gradient(run: RecurrentRun, t: int, n: int, j: int) -> Explanation:
    """Dc[t,n,j] of an LSTM: from above, from the next step's cell, and through h."""
    d = _state_gradient(run, t, n, j)
    o, cell = run.gate(3, t, n, j), float(run.asked.array("y")[1, t, n, j])
    slope = o * (1 - float(np.tanh(cell)) ** 2)
    blocks = [
        block("from above", one_number("dc", run.asked.array("dy")[1, t, n, j], (t, n, j))),
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


def _carried(run: RecurrentRun, what: str) -> np.ndarray:
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
