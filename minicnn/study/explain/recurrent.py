"""Recurrent layers forward: one step of rnn, lstm and gru, with its gates.

Letters as in `minicnn.ops.rnn`: x (T, N, I), h0 (N, H), w_ih (G, I), w_hh (G, H). Gradients: `through_time.py`.
"""

from __future__ import annotations

import numpy as np

from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.notation import Math, Part, at, call, equals, minus, par, plus, sum_over, times
from minicnn.study.explain.recurrent_run import GATES, RecurrentRun, one_number, step_words
from minicnn.study.explain.terms import Block, block, number


@explains("rnn", "y")
def rnn_forward(asked: Asked) -> Answer:
    """h[t] = s(a[t])."""
    run, (t, n, j) = RecurrentRun(asked), asked.index
    a = before_nonlinearity(run, "a", t, n, [*run.product("ih", t, n, j), *run.product("hh", t, n, j)], j)
    name = str(asked.options.get("nonlinearity", "tanh"))
    value = np.tanh(a.total) if name == "tanh" else max(a.total, 0.0)
    general, here = (equals(at("h", *p), call(name, at("a", *p))) for p in (("t", "n", "j"), asked.index))
    one = block("value", number("a", a.total), values=value, form=f"{name}({{0}})")
    return Answer(general, here, [one], step_words(asked, t), parts=[a], slack=a.bound)


@explains("lstm", "y")
def lstm_forward(asked: Asked) -> Answer:
    """c[t] = f c[t-1] + i g and h[t] = o tanh(c[t]); the first axis of y says which: 0 is h, 1 is c."""
    run, (which, t, n, j) = RecurrentRun(asked), asked.index
    i, f, g, o = (gate_of(run, k, t, n, j) for k in range(4))
    place = (t, n, j)
    in_letters = ("t", "n", "j")
    if which:
        blocks = [
            block("what stays", number("f", f.total), one_number("c_before", run.c_before[t, n, j], place)),
            block("what is added", number("i", i.total), number("g", g.total)),
        ]
        general, here = (
            equals(at("c", *p), plus(times(at("f", *p), before), times(at("i", *p), at("g", *p))))
            for p, before in (
                (in_letters, at("c", run.neighbours[0], "n", "j")),
                (place, run.state_before("c", t, n, j)),
            )
        )
        parts, slack = [f, i, g], abs(float(run.c_before[t, n, j])) * f.bound + i.bound + g.bound
    else:
        cell = float(asked.array("y")[1, t, n, j])
        value = o.total * np.tanh(cell)
        blocks = [
            block("value", number("o", o.total), one_number("c", cell, place), values=value, form="{0} · tanh({1})")
        ]
        general, here = (
            equals(at("h", *p), times(at("o", *p), call("tanh", at("c", *p)))) for p in (in_letters, place)
        )
        parts, slack = [o], o.bound
    return Answer(general, here, blocks, step_words(asked, t), ["y[0] is h, y[1] is c"], parts, slack=slack)


@explains("gru", "y")
def gru_forward(asked: Asked) -> Answer:
    """h[t] = (1 - z) n + z h[t-1]."""
    run, (t, n, j) = RecurrentRun(asked), asked.index
    z, new = gate_of(run, 1, t, n, j), gate_of(run, 2, t, n, j)
    old = one_number("h_before", run.h_before[t, n, j], asked.index)
    blocks = [
        block("what is new", number("(1 − z)", 1 - z.total), number("n", new.total), magnitude=abs(new.total)),
        block("what stays", number("z", z.total), old),
    ]
    general, here = (
        equals(at("h", *p), plus(times(par(minus("1", at("z", *p))), at("n", *p)), times(at("z", *p), before)))
        for p, before in (
            (("t", "n", "j"), at("h", run.neighbours[0], "n", "j")),
            (asked.index, run.state_before("h", t, n, j)),
        )
    )
    slack = z.bound * (abs(new.total) + abs(float(run.h_before[t, n, j]))) + new.bound
    return Answer(general, here, blocks, step_words(asked, t), parts=[z, new], slack=slack)


def gate_of(run: RecurrentRun, k: int, t: int, n: int, j: int) -> Explanation:
    """A gate: sigmoid or tanh of the two products."""
    name, row = GATES[run.kind][k], k * run.hidden + j
    tanh = name in ("g", "n")
    blocks = [*run.product("ih", t, n, row), *run.product("hh", t, n, row)]
    parts, slack = [], 0.0
    if run.kind == "gru" and name == "n":  # the reset gate acts on the product of the state
        r = gate_of(run, 0, t, n, j)
        inner = before_nonlinearity(run, "u_n", t, n, run.product("hh", t, n, row), j, run.gate(3, t, n, j))
        blocks = [*run.product("ih", t, n, row), block("state", number("r", r.total), number("u_n", inner.total))]
        parts, slack = [r, inner], abs(inner.total) * r.bound + inner.bound
    a = before_nonlinearity(run, f"a_{name}", t, n, blocks, j, slack=slack)
    value = np.tanh(a.total) if tanh else 1 / (1 + np.exp(-a.total))
    function = "tanh" if tanh else "sigmoid"
    one = block("value", number(f"a_{name}", a.total), values=value, form=f"{function}({{0}})")
    general, here = (equals(at(name, *p), call(function, at(f"a_{name}", *p))) for p in (("t", "n", "j"), (t, n, j)))
    answer = Answer(general, here, [one], parts=[a, *parts], slack=a.bound)
    return run.asked.part(name, (t, n, j), answer, run.gate(k, t, n, j))


def before_nonlinearity(
    run: RecurrentRun,
    name: str,
    t: int,
    n: int,
    blocks: list[Block],
    j: int,
    engine: float | None = None,
    slack: float = 0.0,
) -> Explanation:
    """a = x w_ih^T + b_ih + h[t-1] w_hh^T + b_hh as an explanation; of a GRU's n: ... + r u_n, and u_n alone."""
    before, letter = run.neighbours[0], "j" if run.kind == "rnn" else "g"
    row = next(int(column.index[0, 0]) for b in blocks for column in b.columns if column.name.startswith("w_"))
    general, here = (
        equals(at(name, *p), _products(run, name, p, g, state, over))
        for p, g, state, over in (
            (("t", "n", "j"), letter, at("h", before, "n", "k"), ("i", "k")),
            (
                (t, n, j),
                row,
                run.state_before("h", t, n, "k"),
                (f"i=0..{run.asked.shape('x')[2] - 1}", f"k=0..{run.hidden - 1}"),
            ),
        )
    )
    answer = Answer(general, here, blocks, slack=slack)
    return run.asked.part(name, (t, n, j), answer, engine)


def _products(run: RecurrentRun, name: str, p: tuple[Part, ...], g: Part, state: Math, over: tuple[str, str]) -> Math:
    """The right side of that formula."""
    parts: list[Math] = []
    if name != "u_n":
        parts.append(sum_over(over[0], times(at("x", *p[:2], "i"), at("w_ih", g, "i"))))
        parts += [at("b_ih", g)] if run.asked.has("b_ih") else []
    if name == "a_n":
        return plus(*parts, times(at("r", *p), at("u_n", *p)))
    parts.append(sum_over(over[1], times(state, at("w_hh", g, "k"))))
    parts += [at("b_hh", g)] if run.asked.has("b_hh") else []
    return plus(*parts)
