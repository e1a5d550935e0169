"""Batch normalisation, alone and with the sum and ReLU behind it: y, and every way by which a gradient reaches x.

Letters as in `minicnn.ops.batch_norm`: x (N, C, ...), weight γ, bias β, mean μ and variance of a channel, of M values.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minicnn.backends.arrays import moved
from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.notation import (
    Part,
    at,
    call,
    equals,
    frac,
    joined,
    math,
    minus,
    par,
    plus,
    power,
    root,
    shown,
    sum_over,
    times,
)
from minicnn.study.explain.pointwise import gate_of
from minicnn.study.explain.terms import Block, Column, block, number

DIRECT, THROUGH_MEAN, THROUGH_VARIANCE = "direct", "through mean", "through variance"


@explains("batch_norm", "y")
def forward(asked: Asked) -> Answer:
    """y = γ (x - mean) inv_std + β."""
    answer = _affine(asked)
    answer.general = equals(at("y", "n", "c", "…"), answer.general)
    answer.formula = equals(at("y", *asked.index), answer.formula)
    return answer


@explains("batch_norm_relu", "y")
def forward_relu(asked: Asked) -> Answer:
    """y = max(z, 0), z = γ (x - mean) inv_std + β + residual."""
    inner = _affine(asked)
    inner.general, inner.formula = (
        equals(at("z", *places), formula)
        for places, formula in ((("n", "c", "…"), inner.general), (asked.index, inner.formula))
    )
    parts, inner.parts = inner.parts, []
    z = asked.part("z", asked.index, inner)
    y = z.total if not z.total <= 0 else 0.0
    one = block("value", number("z", z.total), values=y, form="max({0}, 0)", notes=["passes" if y else "cut to 0"])
    general, here = (equals(at("y", *p), call("max", at("z", *p), "0")) for p in (("n", "c", "…"), asked.index))
    return Answer(general, here, [one], inner.words, inner.notes, [z, *parts], slack=z.bound)


@explains("batch_norm", "grad x")
@explains("batch_norm_relu", "grad x")
def grad_input(asked: Asked) -> Answer:
    """dx: direct; and in training through the mean and through the variance of the channel."""
    d, c = _gradient(asked), asked.index[1]
    inv, scale = _inv_std(asked, c), _weight(asked, c)
    weight = _weight_column(asked, c)
    blocks = [block(DIRECT, asked.column(d, *asked.index, array=_gradient_array(asked), source=_source(asked)), *weight,
                    number("inv_std", inv))]  # fmt: skip
    parts: list[Explanation] = []
    count, slack = 0, 0.0
    general = times("inv_std", "γ", at(d, "n", "c", "…"))
    here = times(*_known(asked, c), at(d, *asked.index))
    notes = ["evaluation mode: mean and variance are constants, so only the direct way is left"]
    if asked.options["training"]:
        x_hat = (asked.value("x", asked.index) - _mean(asked, c)) * inv
        mean, product = _mean_gradient(asked, c), _mean_product(asked, c)
        parts, count = [mean, product, *_statistics(asked, c)], _count(asked)
        slack = inv * mean.bound + inv * abs(x_hat) * product.bound
        blocks += [
            block(THROUGH_MEAN, number("−inv_std", -inv), number(mean.symbol, mean.total)),
            block(
                THROUGH_VARIANCE,
                number("−inv_std", -inv),
                number(product.symbol, product.total),
                Column("x_hat", np.array([x_hat]), np.array([asked.index]), "x, normalised"),
            ),
        ]
        general, here = (
            joined(" − ", direct, times(scaled, a), times(scaled, b, hat))
            for direct, scaled, a, b, hat in (
                (general, "inv_std", mean.symbol, product.symbol, at("x_hat", "n", "c", "…")),
                (here, inv, mean.total, product.total, at("x_hat", *asked.index)),
            )
        )
        notes = [
            f"training mode: x also moves the mean and the variance of channel {c}, of {_count(asked)} values; each "
            "term is one way from x to the loss"
        ]
    if d == "dz":
        notes.append("dz = dy where y > 0, else 0")
    return Answer(
        equals(at("dx", "n", "c", "…"), general),
        equals(at("dx", *asked.index), here),
        blocks,
        words=f"x: {asked.source('x')} at {asked.at}; γ = {shown(scale, 6)}, inv_std = {shown(inv, 6)}",
        notes=notes,
        parts=parts,
        count=count,
        slack=slack,
    )


@explains("batch_norm", "grad weight")
@explains("batch_norm_relu", "grad weight")
def grad_weight(asked: Asked) -> Answer:
    """dγ[c] = sum dy x_hat."""
    (c,) = asked.index
    d, gradient = _gradient(asked), _channel(asked, c)
    x_hat = _x_hat(asked, c)
    return Answer(
        equals(at("dγ", "c"), sum_over("n,…", times(at(d, "n", "c", "…"), at("x_hat", "n", "c", "…")))),
        equals(at("dγ", c), sum_over(f"n,… of {_count(asked)}", times(at(d, "n", c, "…"), at("x_hat", "n", c, "…")))),
        [block("values of the channel", gradient, x_hat)],
        words=f"γ is {asked.source('weight')}; entry {asked.at} scaled all {_count(asked)} values of the channel",
        notes=_gate_note(d),
    )


@explains("batch_norm", "grad bias")
@explains("batch_norm_relu", "grad bias")
def grad_bias(asked: Asked) -> Answer:
    """dβ[c] = sum dy."""
    (c,) = asked.index
    d = _gradient(asked)
    return Answer(
        equals(at("dβ", "c"), sum_over("n,…", at(d, "n", "c", "…"))),
        equals(at("dβ", c), sum_over(f"n,… of {_count(asked)}", at(d, "n", c, "…"))),
        [block("values of the channel", _channel(asked, c))],
        words=f"β is {asked.source('bias')}; entry {asked.at} was added to all {_count(asked)} values of the channel",
        notes=_gate_note(d),
    )


@explains("batch_norm_relu", "grad residual")
def grad_residual(asked: Asked) -> Answer:
    """dresidual = dz: a sum passes the gradient on as it is."""
    y = asked.value("y", asked.index)
    gate = number("[y > 0]", float(not y <= 0))
    dy = asked.one("dy", asked.index)
    note = "the gate is open: y > 0" if not y <= 0 else "the gate is shut: y = 0"
    one = block("gate", dy, gate, values=dy.values if not y <= 0 else 0.0, notes=[note])
    general, here = (equals(at("dr", *p), times(at("dy", *p), gate_of(p))) for p in (("n", "c", "…"), asked.index))
    words = f"the residual, {asked.source('residual')}, was added: what comes to the sum goes on unchanged"
    return Answer(general, here, [one], words)


# ---- what the formulas are made of ----------------------------------------------------------------------------------


def _affine(asked: Asked) -> Answer:
    """γ (x - mean) inv_std + β + residual, without a left side."""
    c = asked.index[1]
    mean, inv, training = _mean(asked, c), _inv_std(asked, c), asked.options["training"]
    x = asked.value("x", asked.index)
    moved_x = Column("(x − mean)", np.array([x - mean]), np.array([asked.index]), asked.source("x"))
    blocks: list[Block] = [block("scaled", *_weight_column(asked, c), moved_x, number("inv_std", inv))]
    centred = frac(minus(at("x", "n", "c", "…"), at("μ", "c")), root(plus(at("var", "c"), "ε")))
    number_of = frac(minus(at("x", *asked.index), mean), math(1 / inv))
    general, here = centred, number_of
    if asked.has("weight"):
        general, here = times(at("γ", "c"), centred), times(_weight(asked, c), number_of)
    if asked.has("bias"):
        blocks.append(block("bias", replace(asked.column("bias", c), name="β")))
        general, here = plus(general, at("β", "c")), plus(here, at("β", c))
    if asked.has("residual"):
        blocks.append(block("residual", asked.column("residual", *asked.index)))
        general, here = plus(general, at("r", "n", "c", "…")), plus(here, at("r", *asked.index))
    words = f"x: {asked.source('x')} = {shown(x, 6)}; mean {shown(mean, 6)}, inv_std {shown(inv, 6)} of channel {c}"
    words += "".join(
        f"; {sign}: {asked.source(name)}" for sign, name in (("γ", "weight"), ("β", "bias")) if asked.has(name)
    )
    if asked.has("residual"):
        words += f"; residual: {asked.source('residual')}"
    notes = [f"evaluation mode: mean and variance are the running ones of {asked.where}"]
    if training:
        notes = [f"training mode: mean and variance are those of the batch, of {_count(asked)} values"]
    return Answer(general, here, blocks, words, notes, _statistics(asked, c) if training else [])


def _statistics(asked: Asked, c: int) -> list[Explanation]:
    """Mean and variance of the batch, as sums."""
    x, m = _x_of(asked, c), _count(asked)
    share, mean = number(f"1/{m}", 1 / m, m), _mean(asked, c)
    over = f"n,… of {m}"
    first = Answer(
        equals(at("μ", "c"), times(frac("1", "M"), sum_over("n,…", at("x", "n", "c", "…")))),
        equals(at("μ", c), times(frac("1", m), sum_over(over, at("x", "n", c, "…")))),
        [block("values of the channel", x, share)],
        words=f"all values of channel {c} of {asked.source('x')}",
    )
    away = x.values - mean
    distance = Column("(x − μ)²", away**2, x.index, x.source)
    squared = power(par(minus(at("x", "n", "c", "…"), at("μ", "c"))), "2")
    second = Answer(
        equals(at("var", "c"), times(frac("1", "M"), sum_over("n,…", squared))),
        equals(
            at("var", c),
            times(frac("1", m), sum_over(over, power(par(minus(at("x", "n", c, "…"), mean)), "2"))),
        ),
        [block("squared distances", distance, share)],
        words=f"how far the values of channel {c} lie from their mean, squared (the biased variance)",
        slack=4 * (float(np.finfo(asked.dtype).eps) * mean) ** 2,  # the engine may keep more digits of its mean
    )
    var = float(moved(asked.options["var"], "cpu")[c])
    return [asked.part("mean", (c,), first, mean), asked.part("var", (c,), second, var)]


def _mean_gradient(asked: Asked, c: int) -> Explanation:
    """mean(γ dy) over the channel."""
    return _mean_of(asked, c, [], "")


def _mean_product(asked: Asked, c: int) -> Explanation:
    """mean(γ dy x_hat) over the channel."""
    return _mean_of(asked, c, [_x_hat(asked, c)], "·x_hat")


def _mean_of(asked: Asked, c: int, more: list[Column], name: str) -> Explanation:
    d, m = _gradient(asked), _count(asked)
    columns = [_channel(asked, c), *more]
    if asked.has("weight"):
        columns.insert(0, number("γ", _weight(asked, c), m))
    letters: tuple[Part, ...] = ("n", "c", "…")
    inner, filled = (
        times(scale, at(d, *places), *([at("x_hat", *places)] if more else []))
        for scale, places in (("γ", letters), (_weight(asked, c), ("n", c, "…")))
    )
    answer = Answer(
        equals(f"mean(γ·{d}{name})", times(frac("1", "M"), sum_over("n,…", inner))),
        equals(f"mean(γ·{d}{name})", times(frac("1", m), sum_over(f"n,… of {m}", filled))),
        [block("values of the channel", *columns, number(f"1/{m}", 1 / m, m))],
        words=f"over all {m} values of channel {c}",
    )
    return asked.part(f"mean(γ·{d}{name})", (c,), answer)


def _gradient(asked: Asked) -> str:
    """What reaches the normalisation is called dy, or dz where a ReLU lies between."""
    return "dz" if asked.step.operation.name == "batch_norm_relu" else "dy"


def _gradient_array(asked: Asked) -> np.ndarray:
    dy = asked.array("dy")
    return dy if _gradient(asked) == "dy" else np.where(asked.array("y") <= 0, dy.dtype.type(0), dy)


def _source(asked: Asked) -> str:
    gated = " where it is above 0" if _gradient(asked) == "dz" else ""
    return asked.source("dy") + gated


def _gate_note(d: str) -> list[str]:
    return ["dz = dy where y > 0, else 0"] if d == "dz" else []


def _channel(asked: Asked, c: int) -> Column:
    """dy (or dz) of all values of a channel."""
    name, index = _gradient(asked), _places(asked, c)
    values = asked.array("dy")[:, c].astype(np.float64).ravel()
    if name == "dz":
        values = np.where(asked.array("y")[:, c].ravel() <= 0, 0.0, values)
    return Column(name, values, index, _source(asked))


def _x_of(asked: Asked, c: int) -> Column:
    return Column("x", asked.array("x")[:, c].astype(np.float64).ravel(), _places(asked, c), asked.source("x"))


def _x_hat(asked: Asked, c: int) -> Column:
    x = _x_of(asked, c)
    values = (x.values - _mean(asked, c)) * _inv_std(asked, c)
    return Column("x_hat", values, x.index, f"{asked.source('x')}, normalised")


def _places(asked: Asked, c: int) -> np.ndarray:
    """The index of all values of a channel: (M, axes)."""
    shape = asked.shape("x")
    index = np.indices((shape[0], *shape[2:])).reshape(len(shape) - 1, -1)
    return np.insert(index, 1, c, axis=0).T


def _count(asked: Asked) -> int:
    """M, values a channel."""
    shape = asked.shape("x")
    return int(np.prod(shape)) // shape[1]


def _mean(asked: Asked, c: int) -> float:
    return float(moved(asked.options["mean"], "cpu")[c])


def _inv_std(asked: Asked, c: int) -> float:
    """1 / sqrt(var + eps): as the engine kept it, else computed again."""
    kept = asked.step.saved.get("inv_std")
    if kept is not None:
        return float(moved(kept, "cpu")[c])
    return 1 / float(np.sqrt(float(moved(asked.options["var"], "cpu")[c]) + asked.options.get("eps", 1e-5)))


def _weight(asked: Asked, c: int) -> float:
    return asked.value("weight", (c,)) if asked.has("weight") else 1.0


def _weight_column(asked: Asked, c: int) -> list[Column]:
    return [replace(asked.column("weight", c), name="γ")] if asked.has("weight") else []


def _known(asked: Asked, c: int) -> list[float]:
    """inv_std, and γ where there is one, as numbers."""
    return [_inv_std(asked, c), *([_weight(asked, c)] if asked.has("weight") else [])]
