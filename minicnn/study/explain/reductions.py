"""sum, mean and max over axes, and the mean squared error."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.ops.axes import some_axes
from minicnn.ops.windows import is_whole
from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.notation import (
    Math,
    at,
    bracket,
    equals,
    frac,
    largest,
    math,
    minus,
    par,
    power,
    prefixed,
    sum_over,
    times,
)
from minicnn.study.explain.terms import Column, Index, block, number


@explains("sum", "y")
@explains("mean", "y")
def total(asked: Asked) -> Answer:
    """y = sum x, or sum x / B."""
    x = _reduced(asked)
    many, mean = len(x.values), asked.step.operation.name == "mean"
    columns = [x, number(f"1/{many}", 1 / many, many)] if mean and many else [x]
    over, one = _filled(asked)
    general, here = sum_over("axes", at("x", "i")), sum_over(over, one)
    if mean:
        general, here = times(frac("1", "B"), general), times(frac("1", many), here)
    return Answer(
        equals("y", general),
        equals(_y(asked), here),
        [block("values", *columns)],
        words=f"x: {asked.source('x')} {asked.shape('x')}, over the axes {list(_axes(asked))}",
    )


@explains("sum", "grad x")
@explains("mean", "grad x")
def total_gradient(asked: Asked) -> Answer:
    """dx = dy, or dy / B."""
    dy, mean = _dy(asked), asked.step.operation.name == "mean"
    many = int(np.prod([asked.shape("x")[axis] for axis in _axes(asked)], dtype=int))
    columns = [dy, number(f"1/{many}", 1 / many)] if mean else [dy]
    words = f"{asked.source('x')} at {asked.at} is one of {many} numbers in that sum"
    right, here = at("dy", "…"), _dy_at(dy)
    if mean:
        right, here = frac(right, "B"), frac(here, many)
    return Answer(equals(at("dx", "i"), right), equals(at("dx", *asked.index), here), [block("value", *columns)], words)


@explains("max", "y")
def maximum(asked: Asked) -> Answer:
    """y = max x."""
    x = _reduced(asked)
    most = x.values.max()
    notes = ["largest" if value == most else "" for value in x.values]
    return Answer(
        equals("y", largest("axes", at("x", "i"))),
        equals(_y(asked), largest(*_filled(asked))),
        [block("candidates", x, notes=notes)],
        words=f"x: {asked.source('x')} {asked.shape('x')}, over the axes {list(_axes(asked))}",
        how="largest",
    )


@explains("max", "grad x")
def maximum_gradient(asked: Asked) -> Answer:
    """dx = dy at the maximum: at the first along one axis, shared evenly over several."""
    y_at = _place_in_y(asked, asked.index)
    x = Asked(asked.recording, asked.step, "y", y_at)
    values = _reduced(x)
    best = np.flatnonzero((values.values == values.values.max()) | np.isnan(values.values))
    mine = int(np.flatnonzero((values.index == np.array(asked.index)).all(axis=1))[0])
    if is_whole(asked.options.get("dim")):
        share, note = float(mine == best[0]), "the first of the largest gets all"
    else:
        share, note = float(mine in best) / len(best), f"{len(best)} largest share evenly"
    dy = _dy(asked)
    general = equals(at("dx", "i"), times(at("dy", "…"), bracket("x[i] is the maximum")))
    here = equals(at("dx", *asked.index), times(_dy_at(dy), share))
    passed = dy.values * share if share else 0.0  # what is not the largest gets 0, never NaN
    one = block("share", dy, number("share", share), values=passed, notes=["won" if share else "not the largest"])
    return Answer(general, here, [one], f"x: {asked.source('x')} {asked.shape('x')}", [note])


# ---- mean squared error ---------------------------------------------------------------------------------------------


@explains("mse", "y")
def squared_error(asked: Asked) -> Answer:
    """y = 1/n sum (x - target)^2."""
    x = asked.array("x")
    reduction = asked.options.get("reduction", "mean")
    every = np.indices(x.shape).reshape(x.ndim, -1) if reduction != "none" else np.array([asked.index]).T
    first, second = asked.column("x", *every), asked.column("target", *every)
    many = len(first.values)
    away = first.values - second.values
    share = 1 / many if reduction == "mean" else 1.0
    general, here = (
        power(par(minus(at("x", *p), at("t", *p))), "2")
        for p in (("i",), asked.index if reduction == "none" else ("i",))
    )
    if reduction != "none":
        general, here = sum_over("i", general), sum_over(f"{many} numbers", here)
    if reduction == "mean":
        general, here = times(frac("1", "n"), general), times(frac("1", many), here)
    form = "({0} − {1})²" + (f" / {many}" if reduction == "mean" else "")
    return Answer(
        equals("y", general),
        equals(_y(asked), here),
        [block("squares", first, second, values=away**2 * share, form=form)],
        words=f"x: {asked.source('x')} {asked.shape('x')}; target: {asked.source('target')}",
        count=2,
    )


@explains("mse", "grad x", "grad target")
def squared_error_gradient(asked: Asked) -> Answer:
    """dx = dy 2 (x - target) / n, dtarget = -dx."""
    sign = 1.0 if asked.quantity == "grad x" else -1.0
    reduction = asked.options.get("reduction", "mean")
    away = asked.value("x", asked.index) - asked.value("target", asked.index)
    n = int(np.prod(asked.shape("x"))) if reduction == "mean" else 1
    dy = asked.one("dy", asked.index) if reduction == "none" else asked.column("dy")
    distance = Column("(x − t)", np.array([away]), np.array([asked.index]).reshape(1, -1))
    name = asked.quantity[5:]
    one = block("chain rule", dy, number(f"{2 * sign:g}/{n}", 2 * sign / n), distance)
    general, here = (
        times(back, frac("2", size), par(minus(at("x", *p), at("t", *p))))
        for back, p, size in (("dy", ("i",), "n"), (_dy_at(dy), asked.index, n))
    )
    if sign < 0:
        general, here = prefixed("−", general), prefixed("−", here)
    return Answer(
        equals(at(f"d{name}", "i"), general),
        equals(at(f"d{name}", *asked.index), here),
        [one],
        words=f"x: {asked.source('x')}; target: {asked.source('target')}",
    )


# ---- axes -----------------------------------------------------------------------------------------------------------


def _axes(asked: Asked) -> Index:
    return some_axes(asked.options.get("dim"), len(asked.shape("x")), asked.step.operation.name)


def _reduced(asked: Asked) -> Column:
    """All numbers of x that make y at the index."""
    axes, shape = _axes(asked), asked.shape("x")
    kept = list(asked.index)
    if not asked.options.get("keepdim"):
        for axis in axes:
            kept.insert(axis, 0)
    places = [np.arange(size) if axis in axes else np.array([kept[axis]]) for axis, size in enumerate(shape)]
    if not places:
        return asked.column("x")
    return asked.column("x", *(axis.ravel() for axis in np.meshgrid(*places, indexing="ij")))


def _place_in_y(asked: Asked, index: Index) -> Index:
    axes = _axes(asked)
    if asked.options.get("keepdim"):
        return tuple(0 if axis in axes else place for axis, place in enumerate(index))
    return tuple(place for axis, place in enumerate(index) if axis not in axes)


def _filled(asked: Asked) -> tuple[str, Math]:
    """What a sum over axes runs over, and its number: `i0=0..1, i2=0..3` and x[i0,2,i2]."""
    axes, kept = _axes(asked), list(asked.index)
    if asked.options.get("keepdim"):
        kept = [place for axis, place in enumerate(kept) if axis not in axes]
    places = [f"i{axis}" if axis in axes else kept.pop(0) for axis in range(len(asked.shape("x")))]
    over = ", ".join(f"i{axis}=0..{asked.shape('x')[axis] - 1}" for axis in sorted(axes))
    return over, at("x", *places) if places else math("x")


def _dy_at(dy: Column) -> Math:
    return at("dy", *dy.index[0].tolist()) if dy.index.shape[1] else math("dy")


def _dy(asked: Asked) -> Column:
    """The gradient at the place of y that this number of x went into."""
    place = _place_in_y(asked, asked.index)
    return asked.one("dy", place)


def _y(asked: Asked) -> Any:
    return at("y", *asked.index) if asked.index else "y"
