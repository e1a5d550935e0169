"""Cross-entropy: the loss position by position, and its gradient, predicted minus true.

Letters as in `minicnn.ops.cross_entropy`: scores x (N, C, ...), q the true distribution, D what the mean divides by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.backends.arrays import moved
from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.explanation import Explanation
from minicnn.study.explain.notation import Part, at, equals, frac, joined, minus, par, prefixed, sum_over, times
from minicnn.study.explain.softmax import log_formula, log_probability_of, probability_of, share_formula
from minicnn.study.explain.terms import Column, Index, block, number

SHOWN = 8  # positions whose logarithms come as parts


@dataclass(frozen=True)
class _Truth:
    """What the loss is taken against; without a batch axis x has one put in front."""

    x: np.ndarray  # (N, C, ...)
    q: np.ndarray  # (N, C, ...): the smoothed true distribution; 0 at positions that do not count
    weight: np.ndarray  # (C,)
    divisor: float
    share: float
    batched: bool
    none: bool

    def position(self, index: Index) -> Index:
        """The index of x, or of "none" losses, with a batch axis."""
        return index if self.batched else (0, *index)

    def own(self, index: Index) -> Index:
        """An index with a batch axis, as the tensor has it."""
        return index if self.batched else index[1:]

    @property
    def dim(self) -> int:
        """The axis of the classes in the tensor."""
        return 1 if self.batched else 0


def _truth(asked: Asked) -> _Truth:
    x, target, options = asked.array("x"), asked.array("target"), asked.options
    batched = x.ndim > 1
    x, target = (x, target) if batched else (x[None], target[None])
    share, classes = float(options.get("label_smoothing", 0.0)), x.shape[1]
    given = options.get("weight")
    weight = np.ones(classes) if given is None else moved(given, "cpu").astype(np.float64)
    reduction = options.get("reduction", "mean")
    if target.dtype.kind in "iu":
        keep = target != options.get("ignore_index", -100)
        label = np.where(keep, target, 0)
        one_hot = np.moveaxis(np.eye(classes)[label], -1, 1)
        q = ((1 - share) * one_hot + share / classes) * keep[:, None]
        divisor = float(weight[label][keep].sum())
    else:
        q = (1 - share) * target.astype(np.float64) + share / classes
        divisor = target.size / classes
    return _Truth(x, q, weight, divisor if reduction == "mean" else 1.0, share, batched, reduction == "none")


@explains("cross_entropy", "y")
def forward(asked: Asked) -> Answer:
    """loss = -(1/D) sum_n sum_c q weight log_p."""
    truth = _truth(asked)
    x, q = truth.x, truth.q
    if truth.none:
        position = truth.position(asked.index)
        chosen = np.zeros(q.shape, bool)
        here_at: Any = (position[0], slice(None), *position[1:])
        chosen[here_at] = True
        q = np.where(chosen, q, 0.0)
    used = np.argwhere(q != 0)
    with np.errstate(all="ignore"):
        log_p, size = _log_probabilities(x)
    factor = q[tuple(used.T)] * truth.weight[used[:, 1]] / truth.divisor
    values = log_p[tuple(used.T)]
    inner = float((np.abs(factor) * size[tuple(used.T)]).sum())
    own = used if truth.batched else used[:, 1:]
    log_column = Column("log_p", values, own, f"log_softmax of {asked.source('x')}")
    weights = Column("−q·weight/D", -factor, np.empty((len(used), 0), np.int64))
    largest = np.argsort(-np.abs(factor * values), kind="stable")[:SHOWN]
    parts = [_log_part(asked, truth, tuple(map(int, place))) for place in own[largest]]
    general = prefixed(
        "−",
        times(frac("1", "D"), sum_over("n,c", times(at("q", "n", "c"), at("weight", "c"), at("log_p", "n", "c")))),
    )
    alone = len(used) == 1
    places: tuple[Part, ...] = tuple(own[0].tolist()) if alone else ("n", "c")
    weighed = [] if asked.options.get("weight") is None else [at("weight", places[truth.dim if alone else 1])]
    product = times(at("q", *places), *weighed, at("log_p", *places))
    summed = product if alone else sum_over(f"{len(used)} with q > 0", product)
    here = prefixed("−", times(frac("1", truth.divisor), summed))
    answer = Answer(
        equals(at("y", "n") if truth.none else "y", general),
        equals(at("y", *asked.index) if asked.index else "y", here),
        [block("positions", weights, log_column, magnitude=inner)],
        words=f"x: {asked.source('x')} {asked.shape('x')}, scores of {x.shape[1]} classes; log_p = log_softmax(x); "
        + ("q is 1 at the label" if not truth.share else f"q is smoothed by {truth.share:g}"),
        parts=parts,
        count=x.shape[1],
    )
    if len(own) > SHOWN:
        answer.notes.append(f"of {len(own)} logarithms, the {SHOWN} of the largest terms are explained below")
    return answer


@explains("cross_entropy", "grad x")
def grad_input(asked: Asked) -> Answer:
    """dx[n,c] = (dy/D) (p[c] sum_j q[j] weight[j] - q[c] weight[c]): predicted minus true."""
    truth = _truth(asked)
    place = truth.position(asked.index)
    c = place[1]
    here_at: Any = (place[0], slice(None), *place[2:])
    q = truth.q[here_at]
    pull = float((q * truth.weight).sum())
    difference = joined(" − ", times(at("p", "n", "c"), "Σq·weight"), times(at("q", "n", "c"), at("weight", "c")))
    left = equals(at("dx", "n", "c"), times(frac("dy", "D"), par(difference)))
    scale = _scale_column(asked, truth, place)
    divisor = number(f"1/{truth.divisor:g}", 1 / truth.divisor if truth.divisor else np.inf)
    if not q.any():
        here = equals(at("dx", *asked.index), "0")
        return Answer(left, here, [], "this position does not count: its target is ignored")
    inner = probability_of(asked, asked.index, truth.dim)
    inner.general = equals(at("p", "n", "c"), share_formula(("n", "c")))
    inner.formula = equals(at("p", *asked.index), share_formula(asked.index, asked, truth.dim))
    p = asked.part("p", asked.index, inner)
    predicted, true = p.total * pull, float(q[c] * truth.weight[c])
    here = times(frac("dy", truth.divisor), par(minus(float(predicted), true)))
    with np.errstate(all="ignore"):
        blocks = [
            block("predicted", scale, divisor, number("p", p.total), number("Σq·weight", pull)),
            block("true", scale, divisor, number("−q·weight", -true)),
        ]
        slack = float(abs(scale.values[0] / truth.divisor) * pull * p.bound)
    return Answer(
        left,
        equals(at("dx", *asked.index), here),
        blocks,
        words=f"x: {asked.source('x')} at {asked.at}; p = softmax(x) = {p.total:.6g}, "
        f"q = {float(q[c]):.6g}; D = {truth.divisor:g}",
        parts=[p],
        slack=slack,
        count=truth.x.shape[1],
    )


@explains("cross_entropy", "grad target")
def grad_target(asked: Asked) -> Answer:
    """dtarget[n,c] = -(dy/D) (1 - s) weight[c] log_p[c], for targets that are probabilities."""
    truth = _truth(asked)
    place = truth.position(asked.index)
    part = _log_part(asked, truth, asked.index)
    one = block(
        "logarithm",
        _scale_column(asked, truth, place),
        number("−(1 − s)·weight/D", -(1 - truth.share) * truth.weight[place[1]] / truth.divisor),
        number("log_p", part.total),
    )
    ratio = abs(one.values[0] / part.total) if part.total else 1.0
    general, here = (
        equals(
            at("dt", *p),
            prefixed("−", times(frac("dy", d), par(minus("1", "s")), at("weight", p[truth.dim]), at("log_p", *p))),
        )
        for p, d in ((("n", "c"), "D"), (asked.index, truth.divisor))
    )
    size = one.magnitude + ratio * sum(b.magnitude for b in part.terms.blocks)
    return Answer(general, here, [one], f"target: {asked.source('target')}", parts=[part], magnitude=size,
                  slack=ratio * part.bound)  # fmt: skip


def _log_probabilities(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log_softmax along axis 1 in float64, and what its rounding is relative to."""
    exact = x.astype(np.float64)
    m = exact.max(axis=1, keepdims=True)
    total = np.log(np.exp(exact - m).sum(axis=1, keepdims=True))
    return exact - m - total, np.abs(exact) + np.abs(m) + np.abs(total) + 1


def _log_part(asked: Asked, truth: _Truth, index: Index) -> Explanation:
    """log_p at one place of x as an explanation."""
    answer = log_probability_of(asked, index, truth.dim)
    answer.general = equals(at("log_p", "n", "c"), log_formula(("n", "c")))
    answer.formula = equals(at("log_p", *index), log_formula(index, asked, truth.dim))
    return asked.part("log_p", index, answer)


def _scale_column(asked: Asked, truth: _Truth, place: Index) -> Column:
    """dy of the position: a single number, unless losses were not reduced."""
    if not truth.none:
        return asked.column("dy")
    index: Any = truth.own((place[0], *place[2:]))
    return asked.one("dy", index)
