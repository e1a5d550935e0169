"""The fully connected layer, and the matrix product.

Letters as in `minicnn.ops.linear`: x (..., I), w (J, I), b (J,), y (..., J); and `minicnn.ops.matmul`: a (..., M, K),
b (..., K, N), y (..., M, N).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.study.explain.asked import Answer, Asked, explains
from minicnn.study.explain.notation import at, equals, plus, sum_over, times
from minicnn.study.explain.terms import Index, block, counted


@explains("linear", "y")
def forward(asked: Asked) -> Answer:
    """y[...,j]: the bias, and all inputs with their weights."""
    *lead, j = asked.index
    many = asked.shape("x")[-1]
    i = np.arange(many)
    blocks = [block("products", asked.column("x", *lead, i), asked.column("w", j, i))]
    general = sum_over("i", times(at("x", *_letters(lead), "i"), at("w", "j", "i")))
    here = sum_over(f"i=0..{many - 1}", times(at("x", *lead, "i"), at("w", j, "i")))
    if asked.has("b"):
        blocks.insert(0, block("bias", asked.column("b", j)))
        general, here = plus(at("b", "j"), general), plus(at("b", j), here)
    return Answer(
        equals(at("y", *_letters(lead), "j"), general),
        equals(at("y", *asked.index), here),
        blocks,
        words=f"x: {asked.source('x')} {asked.shape('x')}; w: {asked.source('w')} {asked.shape('w')}, row {j}",
    )


@explains("linear", "grad x")
def grad_input(asked: Asked) -> Answer:
    """dx[...,i]: the input went into all outputs."""
    *lead, i = asked.index
    j = np.arange(asked.shape("w")[0])
    return Answer(
        equals(at("dx", *_letters(lead), "i"), sum_over("j", times(at("dy", *_letters(lead), "j"), at("w", "j", "i")))),
        equals(at("dx", *asked.index), sum_over(f"j=0..{len(j) - 1}", times(at("dy", *lead, "j"), at("w", "j", i)))),
        [block("outputs that used this input", asked.column("dy", *lead, j), asked.column("w", j, i))],
        words=f"{asked.source('x')} at {asked.at} went into {len(j)} outputs, each by its own weight",
    )


@explains("linear", "grad w")
def grad_weight(asked: Asked) -> Answer:
    """dw[j,i]: the weight was used once for each row of x."""
    j, i = asked.index
    lead = _rows(asked.shape("x")[:-1])
    letters, over = _letters(lead), _over(asked.shape("x")[:-1])
    return Answer(
        equals(at("dw", "j", "i"), sum_over(",".join(letters), times(at("dy", *letters, "j"), at("x", *letters, "i")))),
        equals(at("dw", j, i), sum_over(over, times(at("dy", *letters, j), at("x", *letters, i)))),
        [block("uses of this weight", asked.column("dy", *lead, j), asked.column("x", *lead, i))],
        words=f"{asked.source('w')} at {asked.at} multiplied input {i} into output {j}, once for each row",
    )


@explains("linear", "grad b")
def grad_bias(asked: Asked) -> Answer:
    """db[j]: the bias was added once for each row."""
    (j,) = asked.index
    lead = _rows(asked.shape("y")[:-1])
    letters, over = _letters(lead), _over(asked.shape("y")[:-1])
    return Answer(
        equals(at("db", "j"), sum_over(",".join(letters), at("dy", *letters, "j"))),
        equals(at("db", j), sum_over(over, at("dy", *letters, j))),
        [block("outputs", asked.column("dy", *lead, j))],
        words=f"{asked.source('b')} at {asked.at} was added to output {j}, once for each row",
    )


# ---- the matrix product ---------------------------------------------------------------------------------------------


@explains("matmul", "y")
def product(asked: Asked) -> Answer:
    """y[...,m,n]: a row of a times a column of b."""
    a_at, b_at, _ = _matrix_places(asked, asked.index)
    many = asked.shape("a")[-1]
    k = np.arange(many)
    a, b = asked.column("a", *a_at, k), asked.column("b", *_with(b_at, asked.shape("b"), k))
    general = sum_over("k", times(at("a", "…", "m", "k"), at("b", "…", "k", "n")))
    here = sum_over(
        f"k=0..{many - 1}",
        times(at("a", *a_at, "k"), at("b", *_with(b_at, asked.shape("b"), "k"))),
    )
    return Answer(
        equals(at("y", "…", "m", "n"), general),
        equals(at("y", *asked.index), here),
        [block("products", a, b)],
        words=f"a: {asked.source('a')} {asked.shape('a')}; b: {asked.source('b')} {asked.shape('b')}",
    )


@explains("matmul", "grad a", "grad b")
def product_gradient(asked: Asked) -> Answer:
    """da or db: all results that this number went into, each with the number that it was multiplied by there."""
    name = asked.quantity[-1]
    other = "b" if name == "a" else "a"
    places = np.indices(asked.shape("y")).reshape(len(asked.shape("y")), -1).T
    uses: list[tuple[Index, Index]] = []
    for place in map(tuple, places.tolist()):
        a_at, b_at, _ = _matrix_places(asked, place)
        for k in range(asked.shape("a")[-1]):
            both = {"a": (*a_at, k), "b": _with(b_at, asked.shape("b"), k)}
            if both[name] == asked.index:
                uses.append((place, both[other]))
    dy = asked.column("dy", *np.array([y for y, _ in uses], int).reshape(len(uses), -1).T)
    factor = asked.column(other, *np.array([o for _, o in uses], int).T)
    own, over, others = {"a": ("mk", "n", "kn"), "b": ("kn", "m", "mk")}[name]
    general, here = (
        sum_over(sign, times(at("dy", "…", "m", "n"), at(other, "…", *others)))
        for sign in (over, counted(len(uses), "result"))
    )
    return Answer(
        equals(at(f"d{name}", "…", *own), general),
        equals(at(f"d{name}", *asked.index), here),
        [block("results that used this number", dy, factor)],
        words=f"{asked.source(name)} at {asked.at} went into {counted(len(uses), 'result')}",
    )


def _matrix_places(asked: Asked, y_at: Index) -> tuple[Index, Index, Index]:
    """Where row m of a and column n of b lie, without the common axis, for a place of y."""
    a_shape, b_shape = asked.shape("a"), asked.shape("b")
    matrix = list(y_at)
    n = (matrix.pop(),) if len(b_shape) > 1 else ()
    m = (matrix.pop(),) if len(a_shape) > 1 else ()
    lead = tuple(matrix)
    return (*_lead(lead, a_shape[:-2]), *m), (*_lead(lead, b_shape[:-2]), *n), lead


def _lead(places: Index, shape: Index) -> Index:
    """The leading places in an operand that may have been repeated along some axes."""
    own = places[len(places) - len(shape) :] if shape else ()
    return tuple(0 if size == 1 else place for place, size in zip(own, shape, strict=True))


def _with(b_at: Index, b_shape: Index, k: Any) -> tuple[Any, ...]:
    """The place in b with the common axis put in: before the last one."""
    return (*b_at[:-1], k, b_at[-1]) if len(b_shape) > 1 else (k,)


def _letters(lead: object) -> tuple[str, ...]:
    """Names of the leading axes."""
    many = len(lead)  # type: ignore[arg-type]
    return ("n",) if many == 1 else tuple(f"n{axis}" for axis in range(many))


def _rows(shape: Index) -> list[np.ndarray]:
    """All places in the leading axes."""
    return [axis.ravel() for axis in np.indices(shape)]


def _over(shape: Index) -> str:
    return ", ".join(f"{letter}=0..{size - 1}" for letter, size in zip(_letters(shape), shape, strict=True))
