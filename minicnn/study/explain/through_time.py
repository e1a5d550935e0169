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
from minicnn.study.explain.notation import Part, at, call, equals, minus, par, plus, power, sum_over, times
from minicnn.study.explain.recurrent_run import GATES, KINDS, RecurrentRun, one_number, places_of, step_words
from minicnn.study.explain.terms import Column, block, number


def _input_gradient(asked: Asked) -> Answer:
    """dx[t,n,i] = sum_g da[t,n,g] w_ih[g,i]."""
    run, (t, n, i) = RecurrentRun(asked), asked.index
    g = np.arange(asked.shape("w_ih")[0])
    da = _da(run, "da", t, n, g)
    general, here = (
        equals(at("dx", *p), sum_over(over, times(at("da", *p[:2], "g"), at("w_ih", "g", p[2]))))
        for p, over in ((("t", "n", "i"), "g"), (asked.index, _to("g", len(g))))
    )
    blocks = [block("gates", da, asked.column("w_ih", g, i))]
    return Answer(general, here, blocks, step_words(asked, t), parts=_largest(run, "da", da))


def _weight_gradient(asked: Asked) -> Answer:
    """dw_ih[g,i] = sum_{t,n} da[t,n,g] x[t,n,i]; dw_hh[g,k] with the state before the step in the place of x."""
    run, (g, i) = RecurrentRun(asked), asked.index
    state, before = asked.quantity == "grad w_hh", run.neighbours[0]
    t, n = (axis.ravel() for axis in np.indices(asked.shape("x")[:2]))
    name = "ds" if state else "da"
    da = _da(run, name, t, n, g)
    if state:
        values = run.h_before[t, n, i].astype(np.float64)
        other = Column("h_before", values, places_of(t, n, i), "state before the step")
    else:
        other = asked.column("x", t, n, i)
    what, moment, column = ("h", before, "k") if state else ("x", "t", "i")
    general, here = (
        equals(
            at(f"d{asked.quantity[5:]}", *p),
            sum_over(over, times(at(da.name, "t", "n", p[0]), at(what, moment, "n", p[1]))),
        )
        for p, over in ((("g", column), "t,n"), (asked.index, _steps(run)))
    )
    return Answer(
        general,
        here,
        [block("steps that used this weight", da, other)],
        words=f"{asked.source(asked.quantity[5:])} is used at each of {run.steps} steps of each sequence: the sum over "
        "time" + (f"; h[{before}] is h0 at the first step" if state else ""),
        parts=_largest(run, name, da),
    )


def _bias_gradient(asked: Asked) -> Answer:
    """db[g] = sum_{t,n} da[t,n,g]."""
    run, (g,) = RecurrentRun(asked), asked.index
    t, n = (axis.ravel() for axis in np.indices(asked.shape("x")[:2]))
    name = "ds" if asked.quantity == "grad b_hh" else "da"
    da = _da(run, name, t, n, g)
    general, here = (
        equals(at(f"d{asked.quantity[5:]}", row), sum_over(over, at(da.name, "t", "n", row)))
        for row, over in (("g", "t,n"), (g, _steps(run)))
    )
    words = f"{asked.source(asked.quantity[5:])} is added at each of {run.steps} steps of each sequence"
    return Answer(general, here, [block("steps", da)], words, parts=_largest(run, name, da))


def _first_state_gradient(asked: Asked) -> Answer:
    """dh0[n,k] = sum_g da[first,n,g] w_hh[g,k]; of a GRU also what the update gate let pass."""
    run, (n, k) = RecurrentRun(asked), asked.index
    g = np.arange(asked.shape("w_hh")[0])
    da = _da(run, "ds", run.first, n, g)
    blocks = [block("gates of the first step", da, asked.column("w_hh", g, k))]
    parts, slack = _largest(run, "ds", da), 0.0
    formulas = [
        sum_over(over, times(at(da.name, *p, "g"), at("w_hh", "g", place)))
        for p, place, over in (
            (("first", "n"), "k", "g"),
            ((run.first, n), k, _to("g", len(g))),
        )
    ]
    if run.kind == "gru":
        d, z, place = _state_gradient(run, run.first, n, k), run.gate(1, run.first, n, k), (run.first, n, k)
        blocks.append(block("kept by the update gate", one_number("Dh", d.total, place), one_number("z", z, place)))
        places: list[tuple[Part, ...]] = [("first", "n", "k"), place]
        formulas = [
            plus(formula, times(at("Dh", *p), at("z", *p))) for formula, p in zip(formulas, places, strict=True)
        ]
        parts, slack = [*parts, d], abs(z) * d.bound
    general, here = equals(at("dh0", "n", "k"), formulas[0]), equals(at("dh0", n, k), formulas[1])
    return Answer(general, here, blocks, "what goes back to before the first step", parts=parts, slack=slack)


@explains("lstm", "grad c0")
def first_cell_gradient(asked: Asked) -> Answer:
    """dc0 = Dc[first] f[first]."""
    run, (n, j) = RecurrentRun(asked), asked.index
    place = (run.first, n, j)
    d, f = _cell_gradient(run, *place), run.gate(1, *place)
    general, here = (equals(at("dc0", *p[1:]), times(at("Dc", *p), at("f", *p))) for p in (("first", "n", "j"), place))
    one = block("kept by the forget gate", one_number("Dc", d.total, place), one_number("f", f, place))
    return Answer(general, here, [one], "what goes back to before the first step", parts=[d], slack=abs(f) * d.bound)


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


def _da(run: RecurrentRun, name: str, t: Any, n: Any, g: Any) -> Column:
    """da, or for `name` ds the gradient of the product of the state: du of a GRU, else da as well."""
    values = run.back[name][t, n, g].astype(np.float64)
    return Column(_symbol(run, name), values, places_of(t, n, g), "through time")


def _symbol(run: RecurrentRun, name: str) -> str:
    return "du" if name == "ds" and run.kind == "gru" else "da"


def _largest(run: RecurrentRun, name: str, da: Column) -> list[Explanation]:
    """The largest da, explained."""
    t, n, row = (int(i) for i in da.index[int(np.argmax(np.abs(da.values)))])
    return [_da_part(run, name, t, n, row)]


def _da_part(run: RecurrentRun, name: str, t: int, n: int, row: int) -> Explanation:
    """da[t,n,row] (or du): the gradient at the state, times the slopes of what lies between."""
    gate, j = divmod(row, run.hidden)
    symbol, place = _symbol(run, name), (t, n, j)
    through_cell = run.kind == "lstm" and gate != 3
    d = _cell_gradient(run, *place) if through_cell else _state_gradient(run, *place)
    slopes, size = _slopes(run, name, gate, *place)
    slope = float(np.prod([value for _, value in slopes]))
    columns = [one_number(d.symbol, d.total, place), *(number(what, value) for what, value in slopes)]
    full = f"{symbol}_{GATES[run.kind][gate]}".rstrip("_")
    general, here = (
        equals(at(full, *p), times(at(d.symbol, *p), *(what for what, _ in slopes))) for p in (("t", "n", "j"), place)
    )
    one = block("chain rule", *columns, magnitude=abs(d.total) * size)
    answer = Answer(general, here, [one], parts=[d], slack=d.bound * abs(slope))
    return run.asked.part(symbol, (t, n, row), answer, float(run.back[name][t, n, row]))


def _slopes(run: RecurrentRun, name: str, gate: int, t: int, n: int, j: int) -> tuple[list[tuple[str, float]], float]:
    """What Dh (or Dc) is multiplied by on its way to before the nonlinearity; and what rounding is relative to."""
    if run.kind == "rnn":
        h = float(run.h[t, n, j])
        tanh = run.asked.options.get("nonlinearity", "tanh") == "tanh"
        return [("(1 − h²)", 1 - h * h) if tanh else ("[h > 0]", float(h > 0))], 1.0
    if run.kind == "lstm":
        i, f, g, o = (run.gate(k, t, n, j) for k in range(4))
        cell, before = float(run.asked.array("y")[1, t, n, j]), float(run.c_before[t, n, j])
        slopes = (
            [("g", g), ("i", i), ("(1 − i)", 1 - i)],
            [("c_before", before), ("f", f), ("(1 − f)", 1 - f)],
            [("i", i), ("(1 − g²)", 1 - g * g)],
            [("tanh(c)", float(np.tanh(cell))), ("o", o), ("(1 − o)", 1 - o)],
        )[gate]
        return slopes, abs(slopes[0][1])
    r, z, new, u_n = (run.gate(k, t, n, j) for k in range(4))
    before = float(run.h_before[t, n, j])
    if gate == 1:
        return [("(h_before − n)", before - new), ("z", z), ("(1 − z)", 1 - z)], abs(before) + abs(new)
    to_n = [("(1 − z)", 1 - z), ("(1 − n²)", 1 - new * new)]
    if gate == 0:
        return [*to_n, ("u_n", u_n), ("r", r), ("(1 − r)", 1 - r)], abs(u_n)
    return [*to_n, ("r", r)] if name == "ds" else to_n, 1.0


def _state_gradient(run: RecurrentRun, t: int, n: int, j: int) -> Explanation:
    """Dh[t,n,j]: from above, and from the next step."""
    dy, place, slack = run.asked.array("dy"), (t, n, j), 0.0
    above = dy[0] if run.kind == "lstm" else dy
    blocks = [block("from above", one_number("dh", above[place], place))]
    after, later, du = run.neighbours[1], run.later(t), _symbol(run, "ds")
    general = [at("dh", "t", "n", "j"), sum_over("g", times(at(du, after, "n", "g"), at("w_hh", "g", "j")))]
    here = [at("dh", *place)]
    if run.kind == "gru":
        general.append(times(at("Dh", after, "n", "j"), at("z", after, "n", "j")))
    if later is not None:
        g = np.arange(run.asked.shape("w_hh")[0])
        blocks.append(block("from the next step", _da(run, "ds", later, n, g), run.asked.column("w_hh", g, j)))
        here.append(sum_over(_to("g", len(g)), times(at(du, later, n, "g"), at("w_hh", "g", j))))
        if run.kind == "gru":
            d, z = float(_carried(run, "h")[later, n, j]), run.gate(1, later, n, j)
            then = (later, n, j)
            blocks.append(block("kept by the next update gate", one_number("Dh", d, then), one_number("z", z, then)))
            here.append(times(at("Dh", *then), at("z", *then)))
            slack = abs(d) * 64 * float(np.finfo(run.asked.dtype).eps)
    name = at("Dh", "t", "n", "j")
    answer = Answer(equals(name, plus(*general)), equals(at("Dh", *place), plus(*here)), blocks, slack=slack)
    return run.asked.part("Dh", place, answer)


def _cell_gradient(run: RecurrentRun, t: int, n: int, j: int) -> Explanation:
    """Dc[t,n,j] of an LSTM: from above, from the next step's cell, and through h."""
    d, place = _state_gradient(run, t, n, j), (t, n, j)
    o, curve = run.gate(3, t, n, j), 1 - float(np.tanh(float(run.asked.array("y")[1, t, n, j]))) ** 2
    state = [one_number("Dh", d.total, place), one_number("o", o, place), number("(1 − tanh²c)", curve)]
    blocks = [
        block("from above", one_number("dc", run.asked.array("dy")[1, t, n, j], place)),
        block("through h", *state, magnitude=abs(d.total * o)),
    ]
    after, later, slack = run.neighbours[1], run.later(t), d.bound * abs(o * curve)
    if later is not None:
        carried, f, then = float(_carried(run, "c")[later, n, j]), run.gate(1, later, n, j), (later, n, j)
        blocks.append(block("from the next step", one_number("Dc", carried, then), one_number("f", f, then)))
        slack += abs(carried) * 64 * float(np.finfo(run.asked.dtype).eps)
    general, here = (
        equals(
            at("Dc", *p),
            plus(
                at("dc", *p),
                times(at("Dh", *p), at("o", *p), par(minus("1", power(call("tanh", at("c", *p)), "2")))),
                *([times(at("Dc", *then), at("f", *then))] if then else []),
            ),
        )
        for p, then in ((("t", "n", "j"), (after, "n", "j")), (place, None if later is None else (later, n, j)))
    )
    answer = Answer(general, here, blocks, parts=[d], slack=slack)
    return run.asked.part("Dc", place, answer)


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


def _to(letter: str, many: int) -> str:
    """`g=0..8`."""
    return f"{letter}=0..{many - 1}"


def _steps(run: RecurrentRun) -> str:
    """All steps of all sequences."""
    return f"{_to('t', run.steps)}, {_to('n', run.h.shape[1])}"
