"""Operations that move numbers and compute nothing: each number of y *is* a number of x.

Where it stood is found by sending the places themselves through the operation.
"""

from __future__ import annotations

import numpy as np

from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.notation import at, equals, math, sum_over
from minicnn.study.explain.terms import block, counted

MOVES = ("reshape", "flatten", "transpose", "index", "concatenate")


def forward(asked: Asked) -> Answer:
    """y at the index is x at the place that it came from."""
    which, flat = _origins(asked)
    name = asked.step.names[int(which[asked.index])]
    place = tuple(int(i) for i in np.unravel_index(int(flat[asked.index]), asked.shape(name)))
    x = asked.one(name, place)
    return Answer(
        equals(at("y", "i"), at("x", "where i came from")),
        equals(at("y", *asked.index), at(name, *place)),
        [block("moved", x)],
        words=f"{name}: {asked.source(name)} {asked.shape(name)}; {asked.step.operation.name} moves numbers, and "
        "computes nothing",
    )


def gradient(asked: Asked) -> Answer:
    """dx: the gradients of all places that this number went to; none where it was left out."""
    name = asked.quantity[5:]
    which, flat = _origins(asked)
    mine = int(np.ravel_multi_index(asked.index, asked.shape(name))) if asked.index else 0
    places = np.argwhere((which == asked.step.names.index(name)) & (flat == mine))
    blocks = [block("places that it went to", asked.column("dy", *places.T))] if len(places) else []
    here = sum_over(f"{len(places)} places", at("dy", "place"))
    if len(places) <= 1:
        here = at("dy", *places[0].tolist()) if len(places) else math(0)
    return Answer(
        equals(at("dx", "i"), sum_over("places that i went to", at("dy", "place"))),
        equals(at(f"d{name}", *asked.index), here),
        blocks,
        words=f"{asked.source(name)} at {asked.at} went to {counted(len(places), 'place')} of y",
    )


def _origins(asked: Asked) -> tuple[np.ndarray, np.ndarray]:
    """For each place of y: which input its number is from, and the flat place there."""
    op, options = asked.step.operation, asked.options
    shapes = [asked.shape(name) for name in asked.step.names]
    flat = [np.arange(int(np.prod(shape))).reshape(shape) for shape in shapes]
    whose = [np.full(shape, k) for k, shape in enumerate(shapes)]
    nothing = (False,) * len(shapes)
    made = [np.asarray(op.record(nothing, *arrays, **options)[0]) for arrays in (whose, flat)]
    return made[0], made[1]


for _name in MOVES:
    explains(_name, "y")(forward)
    explains(_name, "grad x", *(f"grad x{k}" for k in range(64)))(gradient)
