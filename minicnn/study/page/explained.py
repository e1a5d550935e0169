"""The explanations of `minicnn.study.explain` as the page takes them: plain JSON, and bounded.

The page draws convolution, pooling, batch norm and the like itself, from the arrays. Of all other operations it shows
the explanation that the terminal shows: formulas travel as nested lists of MathML's tags, from which the page builds
elements, so that no text ever becomes markup.
"""

from __future__ import annotations

import math as numbers
from typing import Any
from xml.etree import ElementTree

import numpy as np

from minicnn.errors import printable
from minicnn.study.explain import EXPLAINERS, Explanation, Factor, Term
from minicnn.study.explain.asked import Asked
from minicnn.study.explain.notation import Math
from minicnn.study.explain.terms import Index
from minicnn.study.recording import Recording, Step

# names in VIEWS of js/layers.js
DRAWN = (
    "conv2d",
    "conv_transpose2d",
    "max_pool2d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "batch_norm",
    "batch_norm_relu",
    "linear",
    "cross_entropy",
    "add",
    "relu",
    "sigmoid",
    "tanh",
    "exp",
    "flatten",
    "reshape",
    "concatenate",
    "dropout",
)
EXPLAINED = "explained"
MOST_TERMS = 48
DEPTH = 3  # of sums inside of sums
LONGEST_WORDS = 600


def view_of(step: Step) -> str:
    """The view that shows a step: its operation's own, or `EXPLAINED`."""
    name, shapes = step.operation.name, [t.shape for t in step.inputs if t is not None]
    if name == "add" and len(set(shapes)) > 1:  # broadcast
        return EXPLAINED
    if name == "cross_entropy":
        options, (scores, target) = step.options, shapes
        plain = options.get("reduction", "mean") == "mean" and not options.get("label_smoothing")
        if not plain or options.get("weight") is not None or (len(scores), len(target)) != (2, 1):
            return EXPLAINED
    return name if name in DRAWN else EXPLAINED


def explanation_of(
    recording: Recording, step: Step, name: str, index: Index, engine: float, most: int = MOST_TERMS
) -> dict[str, Any]:
    """The explanation of an entry, ready for JSON.

    Parameters
    ----------
    recording : Recording
    step : Step
    name : str
        `"y"`, or the input whose gradient is asked for.
    index : tuple of int
    engine : float
        The engine's own value there.
    most : int
        Terms that are told one by one, the largest; the others as their sum.

    Raises
    ------
    MismatchError
        The terms do not give the engine's value.
    """
    quantity = "y" if name == "y" else f"grad {name}"
    asked = Asked(recording, step, quantity, index)
    found = asked.explanation(EXPLAINERS[step.operation.name][quantity](asked), engine)
    return _told(found, step, most, DEPTH)


def _told(found: Explanation, step: Step, most: int, depth: int) -> dict[str, Any]:
    shown = sorted(found.largest(most), key=lambda term: term.number)
    kinds = {b.name for b in found.terms.blocks if len(b.values) == 1} if len(found.terms.blocks) > 1 else set()
    sources = {f.name: _words(f.source) for term in shown for f in term.factors if f.source}
    return {
        "place": found.place,
        "general": tree(found.general),
        "formula": tree(found.formula),
        "how": found.how,
        "total": _number(found.total),
        "engine": None if found.engine is None else _number(found.engine),
        "bound": _number(found.bound),
        "words": _words(found.words),
        "notes": [_words(note) for note in found.notes],
        "terms": [_term(term, step, kinds) for term in shown],
        "many": len(found.terms),
        "padding": found.in_padding,
        "rest": _number(found.rest(shown)),
        "sources": sources,
        "parts": [_told(part, step, most, depth - 1) for part in found.parts] if depth else [],
    }


def _term(term: Term, step: Step, kinds: set[str]) -> dict[str, Any]:
    told = {
        "value": _number(term.value),
        "note": _words(term.note or (term.block if term.block in kinds else "")),
        "text": str(term) if term.form else "",
        "factors": [[f.name, list(f.index), _number(f.value), *_elsewhere(f, step)] for f in term.factors],
    }
    return {name: value for name, value in told.items() if value or name == "value"}


def _elsewhere(factor: Factor, step: Step) -> list[Any]:
    """The array of the step and the index in it where a factor stands that is called otherwise."""
    if factor.name not in ("h_before", "c_before", "da", "du") or len(factor.index) != 3:
        return []
    t, n, j = factor.index  # of a recurrent layer: step, sequence, number
    *which, steps, _, hidden = step.output.shape  # an LSTM's begins with h and c
    if factor.name in ("da", "du"):  # a gate's gradient, shown at the output that it helped to make
        return ["dy", [*(0 for _ in which), t, n, j % hidden]]
    before = t + 1 if step.options.get("reverse") else t - 1
    if not 0 <= before < steps:
        return [f"{factor.name[0]}0", [n, j]]
    return ["y", [*(int(factor.name == "c_before") for _ in which), before, n, j]]


def tree(formula: Math) -> list[Any]:
    """MathML as nested lists, `["msub", ["mi", "x"], ["mn", "3"]]`."""
    try:
        return _nested(ElementTree.fromstring(formula.as_mathml()))
    except ElementTree.ParseError:  # a name with signs of XML in it
        return ["mtext", _words(formula.text)]


def _nested(element: ElementTree.Element) -> list[Any]:
    children: list[Any] = [_nested(child) for child in element]
    tag = element.tag.partition("}")[2]
    if tag in ("math", "mrow") and len(children) == 1:
        return list(children[0])
    return ["mrow" if tag == "math" else tag, *(children or [element.text or ""])]


def _words(text: str) -> str:
    text = printable(text)
    return text if len(text) <= LONGEST_WORDS else f"{text[: LONGEST_WORDS - 1]}…"


def _number(value: float) -> float | str:
    """A number as JSON takes it; what is not finite as JavaScript's Number() reads it."""
    value = float(value)
    if numbers.isfinite(value):
        return value
    return "NaN" if numbers.isnan(value) else "Infinity" if value > 0 else "-Infinity"


# ---- which entries a file holds -------------------------------------------------------------------------------------


def entries(values: np.ndarray, most: int) -> list[Index]:
    """Indices of at most `most` entries: all, or the largest of the first plane and of all, and some evenly between.

    The first of them is the largest of the first plane.
    """
    if not values.ndim or not values.size:
        return [()] * values.size
    size = np.where(np.isnan(values), np.inf, np.abs(values))
    plane = size[_first_picture(values.shape)]
    few = most // 3
    if values.size <= most:
        found = [_at(int(plane.argmax()), plane.shape), *(_at(i, values.shape) for i in range(values.size))]
    else:
        even = np.linspace(0, plane.size - 1, few).astype(int)
        found = [_at(i, plane.shape) for i in (*_loudest(plane, few), *even)]
        found += [_at(i, values.shape) for i in _loudest(size, few)]
    return list(dict.fromkeys(found))


def _first_picture(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """What the page shows first of an array: its last two axes of more than one number, or one (js/numbers.js)."""
    last = len(shape) - 1
    long = [axis for axis, many in enumerate(shape) if many > 1]
    axes = [last] if last < 2 else long[-2:] if shape[last] > 1 else long[-1:]
    return tuple(slice(None) if axis in axes else slice(1) for axis in range(len(shape)))


def _loudest(size: np.ndarray, many: int) -> list[int]:
    return [int(i) for i in np.argsort(-size, axis=None, kind="stable")[:many]]


def _at(place: int, shape: tuple[int, ...]) -> Index:
    return tuple(int(i) for i in np.unravel_index(place, shape))
