"""Softmax and its logarithm, and the sums of exponentials that cross-entropy needs as well.

Letters as in `minicnn.ops.softmax`; m is the largest score, subtracted so that no exponential overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.explanation import Explanation
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
    power,
    prefixed,
    shown,
    sum_over,
    times,
)
from minicnn.study.explain.terms import Block, Column, Index, block, number

EXP_SUM = "Σexp"


@explains("softmax", "y")
def softmax(asked: Asked) -> Answer:
    """y[i] = exp(x[i] - m) / sum_j exp(x[j] - m)."""
    probability, dim = probability_of(asked, asked.index, _dim(asked)), _dim(asked)
    probability.general = equals(at("y", "i"), share_formula(("i",)))
    probability.formula = equals(at("y", *asked.index), share_formula(asked.index, asked, dim))
    return probability


@explains("log_softmax", "y")
def log_softmax(asked: Asked) -> Answer:
    """y[i] = x[i] - m - ln sum_j exp(x[j] - m)."""
    answer = log_probability_of(asked, asked.index, _dim(asked))
    answer.general = equals(at("y", "i"), log_formula(("i",)))
    answer.formula = equals(at("y", *asked.index), log_formula(asked.index, asked, _dim(asked)))
    return answer


@explains("softmax", "grad x")
def softmax_gradient(asked: Asked) -> Answer:
    """dx[i] = sum_j dy[j] y[i] ([i=j] - y[j]): every probability moves when one score does."""
    line, i = _line(asked.index, asked.shape("x"), _dim(asked))
    dy, y = asked.column("dy", *line), asked.column("y", *line)
    mine = y.values[i]
    same = np.arange(len(y.values)) == i
    slope = Column("([j=i] − y)", same - y.values, y.index, y.source)
    size = float(np.abs(dy.values[i] * mine) + np.abs(mine) * np.abs(dy.values * y.values).sum())
    general, here = (
        equals(
            at("dx", *mine_at),
            sum_over(over, times(at("dy", *j), at("y", *mine_at), par(minus(bracket(f"j={own}"), at("y", *j))))),
        )
        for mine_at, j, own, over in _letters_and_places(asked)
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
    slope = Column("([j=i] − exp(y[i]))", same - p, dy.index)
    general, here = (
        equals(
            at("dx", *mine_at),
            sum_over(over, times(at("dy", *j), par(minus(bracket(f"j={own}"), power("e", at("y", *mine_at)))))),
        )
        for mine_at, j, own, over in _letters_and_places(asked)
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
    one = block("scores", x, number("m", m, len(values)), values=values, form="exp({0} − {1})", magnitude=slope)
    answer = Answer(
        equals(EXP_SUM, _exponentials()),
        equals(EXP_SUM, _exponentials(asked, index, dim)),
        [one],
        words=f"m = {shown(m, 6)} is the largest score: subtracting it changes nothing, and no exponential overflows",
    )
    return asked.part(EXP_SUM, (), answer), m


def probability_of(asked: Asked, index: Index, dim: int) -> Answer:
    """softmax(x) at one place; formulas are the caller's."""
    total, m = sum_of_exponentials(asked, index, dim)
    x = asked.one("x", index)
    with np.errstate(all="ignore"):
        value = np.exp(x.values - m) / total.total
        size = float(value[0] * (2 + (abs(x.values[0] - m) if np.isfinite(x.values[0]) else 0.0)))
    columns = [x, number("m", m), number(EXP_SUM, total.total)]
    share = block("share", *columns, values=value, form="exp({0} − {1}) / {2}", magnitude=size)
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


def share_formula(places: tuple[Part, ...], asked: Asked | None = None, dim: int = 0) -> Math:
    """exp(x[i] - m) / sum exp(x[j] - m); with what is asked, its places filled in."""
    below = _exponentials() if asked is None else _exponentials(asked, places, dim)
    return frac(power("e", minus(at("x", *places), "m")), below)


def log_formula(places: tuple[Part, ...], asked: Asked | None = None, dim: int = 0) -> Math:
    """x[i] - m - ln sum exp(x[j] - m); with what is asked, its places filled in."""
    inner = _exponentials() if asked is None else _exponentials(asked, places, dim)
    return joined(" − ", at("x", *places), "m", call("ln", inner))


def _exponentials(asked: Asked | None = None, index: tuple[Part, ...] = (), dim: int = 0) -> Math:
    """sum_j exp(x[j] - m)."""
    if asked is None:
        return sum_over("j", power("e", minus(at("x", "j"), "m")))
    return sum_over(f"j=0..{asked.shape('x')[dim] - 1}", power("e", minus(at("x", *_letter(index, dim)), "m")))


def _letters_and_places(asked: Asked) -> list[tuple[Any, Any, Part, str]]:
    """For a formula in letters, and for this index: its place, that of j along the axis, its own j, and all of them."""
    index, dim = asked.index, _dim(asked)
    over = f"j=0..{asked.shape('x')[dim] - 1}"
    return [(("i",), ("j",), "i", "j"), (index, _letter(index, dim), index[dim], over)]


def _none() -> Any:
    return prefixed("", "")


def _dim(asked: Asked) -> int:
    return int(asked.options.get("dim", -1)) % len(asked.shape("x"))


def _line(index: Index, shape: Index, dim: int) -> tuple[list[Any], int]:
    """All places along an axis through an index, and which of them it is."""
    line: list[Any] = list(index)
    line[dim] = np.arange(shape[dim])
    return line, index[dim]


def _letter(index: tuple[Part, ...], dim: int) -> tuple[Part, ...]:
    places: list[Part] = list(index)
    places[dim] = "j"
    return tuple(places)
