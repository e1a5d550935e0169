"""Softmax and its logarithm, and the sums of exponentials that cross-entropy needs as well.

Letters as in `minicnn.ops.softmax`; m is the largest score, subtracted so that no exponential overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.notation import (
    Part,
    at,
    bracket,
    call,
    equals,
    frac,
    joined,
    minus,
    par,
    power,
    prefixed,
    sum_over,
    times,
)
from minicnn.study.explain.terms import Block, Column, Index, block, number

EXP_SUM = "Σexp"


@explains("softmax", "y")
def softmax(asked: Asked) -> Answer:
    """y[i] = exp(x[i] - m) / sum_j exp(x[j] - m)."""
    probability = probability_of(asked, asked.index, _dim(asked))
    below = sum_over("j", power("e", minus(at("x", "j"), "m")))
    probability.general, probability.formula = (
        equals(at("y", *p), frac(power("e", minus(at("x", *p), "m")), below))
        for p in (("i",), asked.index)
    )  # fmt: skip
    return probability


@explains("log_softmax", "y")
def log_softmax(asked: Asked) -> Answer:
    """y[i] = x[i] - m - ln sum_j exp(x[j] - m)."""
    answer = log_probability_of(asked, asked.index, _dim(asked))
    answer.general, answer.formula = (equals(at("y", *p), log_formula(p)) for p in (("i",), asked.index))
    return answer


@explains("softmax", "grad x")
def softmax_gradient(asked: Asked) -> Answer:
    """dx[i] = sum_j dy[j] y[i] ([i=j] - y[j]): every probability moves when one score does."""
    line, i = _line(asked.index, asked.shape("x"), _dim(asked))
    dy, y = asked.column("dy", *line), asked.column("y", *line)
    mine = y.values[i]
    same = np.arange(len(y.values)) == i
    slope = Column("([i=j] − y)", same - y.values, y.index, y.source)
    size = float(np.abs(dy.values[i] * mine) + np.abs(mine) * np.abs(dy.values * y.values).sum())
    general, here = (
        equals(
            at("dx", *p),
            sum_over("j", times(at("dy", "j"), at("y", *p), par(minus(bracket("j=i"), at("y", "j"))))),
        )
        for p in (("i",), asked.index)
    )
    one = block("probabilities that this score moved", dy, number("y[i]", mine, len(y.values)), slope, magnitude=size)
    words = f"x: {asked.source('x')} {asked.shape('x')}; j along axis {_dim(asked)}"
    return Answer(general, here, [one], words)


@explains("log_softmax", "grad x")
def log_softmax_gradient(asked: Asked) -> Answer:
    """dx[i] = sum_j dy[j] ([i=j] - exp(y[i]))."""
    line, i = _line(asked.index, asked.shape("x"), _dim(asked))
    dy, p = asked.column("dy", *line), float(np.exp(asked.value("y", asked.index)))
    same = np.arange(len(dy.values)) == i
    slope = Column("([i=j] − exp(y[i]))", same - p, dy.index)
    general, here = (
        equals(
            at("dx", *places),
            sum_over("j", times(at("dy", "j"), par(minus(bracket("j=i"), power("e", at("y", *places)))))),
        )
        for places in (("i",), asked.index)
    )
    size = float(np.abs(dy.values[i]) + p * np.abs(dy.values).sum() * (2 + abs(asked.value("y", asked.index))))
    one = block("results that this score moved", dy, slope, magnitude=size)
    words = f"x: {asked.source('x')} {asked.shape('x')}; j along axis {_dim(asked)}"
    return Answer(general, here, [one], words)


# ---- shared with cross-entropy --------------------------------------------------------------------------------------


def sum_of_exponentials(asked: Asked, index: Index, dim: int) -> tuple[Explanation, float]:
    """sum_j exp(x[j] - m) along the axis through this index, and m."""
    line, _ = _line(index, asked.shape("x"), dim)
    x = asked.column("x", *line)
    m = float(x.values.max())
    with np.errstate(all="ignore"):
        values = np.exp(x.values - m)
    slope = float((values * (1 + np.where(np.isfinite(x.values), np.abs(x.values - m), 0.0))).sum())
    one = block("scores", x, values=values, form=f"exp({{0}} − {m:.6g})", magnitude=slope)
    answer = Answer(
        equals(EXP_SUM, sum_over("j", power("e", minus(at("x", "j"), "m")))),
        equals(EXP_SUM, sum_over(f"j=0..{len(values) - 1}", power("e", minus(at("x", *_letter(index, dim)), m)))),
        [one],
        words=f"m = {m:.6g} is the largest score: subtracting it changes nothing, and no exponential overflows",
    )
    return asked.part(EXP_SUM, (), answer), m


def probability_of(asked: Asked, index: Index, dim: int) -> Answer:
    """softmax(x) at one place; formulas are the caller's."""
    total, m = sum_of_exponentials(asked, index, dim)
    x = asked.one("x", index)
    with np.errstate(all="ignore"):
        value = np.exp(x.values - m) / total.total
        size = float(value[0] * (2 + (abs(x.values[0] - m) if np.isfinite(x.values[0]) else 0.0)))
    share = block(
        "share", x, number(EXP_SUM, total.total), values=value, form=f"exp({{0}} − {m:.6g}) / {{1}}", magnitude=size
    )
    slack = float(value[0]) * total.bound / total.total if total.total else 0.0
    words = f"x: {asked.source('x')} {asked.shape('x')}"
    return Answer(_none(), _none(), [share], words, parts=[total], slack=slack)


def log_probability_of(asked: Asked, index: Index, dim: int) -> Answer:
    """log_softmax(x) at one place; formulas are the caller's."""
    total, m = sum_of_exponentials(asked, index, dim)
    with np.errstate(all="ignore"):
        logarithm = -np.log(total.total)
    blocks: list[Block] = [
        block("score", asked.one("x", index)),
        block("largest score", number("m", m), values=-m, form="−{0}"),
        block("all scores", number(EXP_SUM, total.total), values=logarithm, form="−ln({0})"),
    ]
    words = f"x: {asked.source('x')} {asked.shape('x')}"
    return Answer(_none(), _none(), blocks, words, parts=[total], slack=total.bound / max(total.total, 1.0))


def log_formula(places: tuple[Part, ...]) -> Any:
    """x[i] - m - ln sum exp(x[j] - m)."""
    inner = call("ln", sum_over("j", power("e", minus(at("x", "j"), "m"))))
    return joined(" − ", at("x", *places), "m", inner)


def _none() -> Any:
    return prefixed("", "")


def _dim(asked: Asked) -> int:
    return int(asked.options.get("dim", -1)) % len(asked.shape("x"))


def _line(index: Index, shape: Index, dim: int) -> tuple[list[Any], int]:
    """All places along an axis through an index, and which of them it is."""
    line: list[Any] = list(index)
    line[dim] = np.arange(shape[dim])
    return line, index[dim]


def _letter(index: Index, dim: int) -> tuple[Part, ...]:
    places: list[Part] = list(index)
    places[dim] = "j"
    return tuple(places)
