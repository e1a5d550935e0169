"""add, sub, mul, div, with operands that are repeated to fit: their gradient is a sum over the repetitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.notation import Math, Part, at, equals, frac, joined, math, power, prefixed, sum_over, times
from minicnn.study.explain.terms import Column, Index, block, counted

SIGNS = {"add": " + ", "sub": " − ", "mul": " · "}


@explains("add", "y")
@explains("sub", "y")
@explains("mul", "y")
@explains("div", "y")
def forward(asked: Asked) -> Answer:
    """y = a + b, a - b, a b or a / b."""
    name = asked.step.operation.name
    places = {side: _own(asked.index, asked.shape(side)) for side in "ab"}
    a, b = (asked.one(side, places[side]) for side in "ab")
    if name == "add":
        blocks = [block(f"a: {a.source}", a), block(f"b: {b.source}", b)]
    elif name == "sub":
        blocks = [block(f"a: {a.source}", a), block(f"b: {b.source}", b, values=-b.values, form="−{0}")]
    elif name == "mul":
        blocks = [block("products", a, b)]
    else:
        with np.errstate(all="ignore"):
            blocks = [block("products", a, b, values=a.values / b.values, form="{0} / {1}")]

    def formula(left: tuple[Part, ...], own_a: tuple[Part, ...], own_b: tuple[Part, ...]) -> Math:
        first, second = at("a", *own_a) if own_a else "a", at("b", *own_b) if own_b else "b"
        right = frac(first, second) if name == "div" else joined(SIGNS[name], first, second)
        return equals(at("y", *left) if left else "y", right)

    words = f"a: {asked.source('a')} {asked.shape('a')}; b: {asked.source('b')} {asked.shape('b')}"
    return Answer(formula(("i",), ("i",), ("i",)), formula(asked.index, places["a"], places["b"]), blocks, words)


@explains("add", "grad a", "grad b")
@explains("sub", "grad a", "grad b")
@explains("mul", "grad a", "grad b")
@explains("div", "grad a", "grad b")
def gradient(asked: Asked) -> Answer:
    """da or db: over all places of y that this number went into."""
    name, side = asked.step.operation.name, asked.quantity[-1]
    places = repeated(asked.index, asked.shape(side), asked.shape("y"))
    dy = asked.column("dy", *places)
    many = len(dy.values)
    a, b = (_column(asked, operand, dy.index) for operand in "ab")
    columns: list[Column] = [dy]
    values, form = None, ""
    if name == "sub" and side == "b":
        values, form = -dy.values, "−{0}"
    elif name == "mul":
        columns.append(b if side == "a" else a)
    elif name == "div":
        columns += [b] if side == "a" else [a, b]
        with np.errstate(all="ignore"):
            values = dy.values / b.values if side == "a" else -dy.values * (a.values / b.values) / b.values
        form = "{0} / {1}" if side == "a" else "−{0} · {1} / {2}²"

    def one_use(y_at: Any, a_at: Any, b_at: Any) -> Math:
        back, first, second = (at(n, *i) if len(i) else math(n) for n, i in (("dy", y_at), ("a", a_at), ("b", b_at)))
        if name == "mul":
            return times(back, second if side == "a" else first)
        if name == "div":
            return frac(back, second) if side == "a" else prefixed("−", frac(times(back, first), power(second, "2")))
        return prefixed("−", back) if name == "sub" and side == "b" else back

    in_letters, left = one_use("i", "i", "i"), f"d{side}"
    here = one_use(*(column.index[0].tolist() for column in (dy, a, b))) if many == 1 else in_letters
    words = f"{asked.source(side)} went into {counted(many, 'place')} of y"
    words += ": a sum passes the gradient on as it is" if name == "add" and many == 1 else ""
    return Answer(
        equals(at(left, "i"), sum_over("uses of i", in_letters)),
        equals(at(left, *asked.index) if asked.index else left, here if many == 1 else sum_over(f"{many} uses", here)),
        [block("uses", *columns, values=values, form=form)],
        words,
    )


def repeated(index: Index, own: Index, shape: Index) -> list[Any]:
    """All places of the common shape that one number of an operand of shape `own` was repeated into."""
    missing = len(shape) - len(own)
    axes = [np.arange(size) for size in shape[:missing]]
    for place, size, common in zip(index, own, shape[missing:], strict=True):
        axes.append(np.arange(common) if size == 1 else np.array([place]))
    return [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")] if axes else []


def _column(asked: Asked, side: str, index: np.ndarray) -> Column:
    """An operand at places of the common shape."""
    shape = asked.shape(side)
    if not shape:
        value = float(asked.array(side))
        return Column(side, np.full(len(index), value), np.empty((len(index), 0), np.int64), asked.source(side))
    own = index[:, index.shape[1] - len(shape) :]
    own = np.where(np.array(shape) == 1, 0, own)
    return asked.column(side, *own.T)


def _own(index: Index, shape: Index) -> Index:
    """The place in an operand for a place of the common shape."""
    own = index[len(index) - len(shape) :] if shape else ()
    return tuple(0 if size == 1 else place for place, size in zip(own, shape, strict=True))
